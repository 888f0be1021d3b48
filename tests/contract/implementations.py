"""Finds the classes of the runtime that have the methods of a protocol, so that none is left out of its contract."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import streammat

ELSEWHERE = ("streammat.engines", "streammat.train", "streammat.cli", "streammat.web", "streammat.__main__")


def implementations(protocol: type) -> set[type]:
    """Every class of the runtime with all methods of ``protocol``, under the same names of parameters."""
    wanted = {name: parameters for kind in protocol.__mro__ if is_protocol(kind) for name, parameters in methods(kind).items()}
    found = set()
    for module in pkgutil.walk_packages(streammat.__path__, "streammat."):
        if module.name.startswith(ELSEWHERE):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(value) and value.__module__ == module.name and not is_protocol(value):
                own = {name: parameters for kind in value.__mro__ for name, parameters in methods(kind).items()}
                if all(own.get(name) == parameters for name, parameters in wanted.items()):
                    found.add(value)
    return found


def is_protocol(kind: type) -> bool:
    return bool(getattr(kind, "_is_protocol", False)) and kind.__name__ != "Protocol"


def methods(kind: type) -> dict[str, tuple[str, ...]]:
    """Names of the parameters of each public method, and of ``__iter__``."""
    return {
        name: tuple(inspect.signature(value).parameters)
        for name, value in vars(kind).items()
        if inspect.isfunction(value) and (name == "__iter__" or not name.startswith("_"))
    }
