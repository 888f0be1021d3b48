"""Builds the options of ``streammat.config`` from flat mappings, as the command line and the Python API pass them; tells their choices and bounds."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from streammat.config import ImageArray, Within
from streammat.errors import UsageError, shortened

T = TypeVar("T")


def choices(options: type[object], name: str) -> tuple[str, ...]:
    """Return the values that a field of literal type may have, in order."""
    kind = get_type_hints(options)[name]
    assert get_origin(kind) is Literal, f"{options.__name__}.{name} has no fixed choices"
    return get_args(kind)


def bounds(options: type[object], name: str) -> Within:
    """Return the bounds of a number."""
    for each in get_args(get_type_hints(options, include_extras=True)[name]):
        if isinstance(each, Within):
            return each
    raise AssertionError(f"{options.__name__}.{name} has no bounds")


def field_names(options: type[object]) -> tuple[str, ...]:
    """Return the names of all fields of ``options``, including those of its option groups."""
    hints = get_type_hints(options)
    names: list[str] = []
    for each in fields(options):  # type: ignore[arg-type]  # every options class is a dataclass
        kind = hints[each.name]
        names += field_names(kind) if _is_group(kind) else [each.name]
    return tuple(names)


def _is_group(kind: Any) -> bool:
    """Return True for the classes of ``streammat.config``, whose fields count as the outer class's own."""
    return isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == Within.__module__


def build(options: type[T], values: Mapping[str, Any]) -> T:
    """Build options from a flat mapping, as the command line and the Python API pass them.

    Args:
        options: one of the classes of ``streammat.config``.
        values: by field name, including fields of the groups within ``options``; ``no_<field>`` negates a boolean field.

    Raises:
        TypeError: a name that ``options`` does not have.
        UsageError: a value that is not one of a field's choices.
    """
    opposite = {name.removeprefix("no_"): not value for name, value in values.items() if name.startswith("no_")}
    given = {name: value for name, value in values.items() if not name.startswith("no_")} | opposite
    if unknown := sorted(set(given) - set(field_names(options))):
        raise TypeError(f"unexpected option {unknown[0]!r}; expected one of {', '.join(sorted(field_names(options)))}")
    return _build(options, given)


def _build(options: type[T], given: Mapping[str, Any]) -> T:
    hints = get_type_hints(options, include_extras=True)
    made: dict[str, Any] = {}
    for each in fields(options):  # type: ignore[arg-type]
        kind = hints[each.name]
        if _is_group(kind):
            made[each.name] = _build(kind, given)
        elif each.name in given:
            made[each.name] = _checked(each.name, kind, given[each.name])
    return options(**made)


def _checked(name: str, kind: Any, value: Any) -> Any:
    """Return ``value`` as a field of type ``kind`` holds it."""
    within: Within | None = None
    if get_origin(kind) is Annotated:
        kind, within = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        kinds = set(get_args(kind))
        if (value is None and NoneType in kinds) or (isinstance(value, ImageArray) and ImageArray in kinds):
            return value
        (kind,) = kinds - {NoneType, ImageArray}
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise UsageError(f"{name} is {shortened(repr(value))}; expected one of {', '.join(get_args(kind))}")
        return value
    if get_origin(kind) is tuple:
        each, *others = get_args(kind)
        least, most = (within.least, within.most) if within else (0, math.inf) if others == [...] else (1 + len(others), 1 + len(others))
        if not isinstance(value, tuple | list) or not least <= len(value) <= most:
            raise UsageError(f"{name} is {shortened(repr(value))}; expected a tuple of {least:g}{' or more' if most > least else ''}")
        return tuple(_checked(name, each, one) for one in value)
    if kind is bool:
        expected, right = "True or False", isinstance(value, bool)
    elif kind in (int, float):
        right = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
        right = right and (isinstance(value, Integral) or math.isfinite(value))
        expected = "a whole number" if kind is int else "a number"
        if within is not None:
            right = right and within.least <= value <= within.most
            expected += f" from {within.least:g} to {within.most:g}"
    elif kind is str:
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        expected, right = "text that is not empty", isinstance(value, str) and bool(value.strip())
    else:
        expected, right = f"a {kind.__name__}", isinstance(value, kind)
    if not right:
        raise UsageError(f"{name} is {shortened(repr(value))}; expected {expected}")
    return kind(value) if kind in (int, float) else value
