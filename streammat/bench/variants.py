"""Chooses the engines, precisions and devices to measure, and lists those that this machine cannot run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streammat.engines.base import EngineError, EngineUnavailableError
from streammat.engines.choice import choose
from streammat.engines.model_files import ModelFiles
from streammat.engines.registry import BACKENDS, Probe, check_device, kind_of, probe
from streammat.errors import one_line


@dataclass(frozen=True)
class Variant:
    """One engine, precision and device that can run the network."""

    engine: str
    """A name of `streammat.engines.registry.BACKENDS`."""
    precision: str
    device: str

    def __str__(self) -> str:
        return f"{self.engine} {self.precision} {self.device}"


@dataclass(frozen=True)
class NotRun:
    """An engine, precision or size that was not measured, and why."""

    engine: str
    precision: str | None
    """The precision; None: all of them."""
    device: str | None
    size: tuple[int, int] | None
    """(height, width) of the frame; None: at no size."""
    reason: str
    asked: bool
    """True if it was requested by name, so that leaving it out is a failure."""

    def __str__(self) -> str:
        what = " ".join(part for part in (self.engine, self.precision, self.device) if part is not None)
        return f"{what} at {self.size[1]}x{self.size[0]}" if self.size else what


def plan(model: ModelFiles, engines: Sequence[str], precisions: Sequence[str], device: str) -> tuple[list[Variant], list[NotRun]]:
    """Return the engines, precisions and devices to measure.

    Args:
        model: the model's files.
        engines: names; ``auto`` is what `streammat.engines.choice.choose` takes, ``all`` each of
            `streammat.engines.registry.BACKENDS`.
        precisions: names; ``auto`` is each engine's default, ``all`` every one that it supports.
        device: as ``--device``; ``auto`` is an engine's default device, and for ``all`` the first device of each kind that it
            finds.

    Returns:
        The variants that can probably run (only opening them tells for sure), and those that cannot.

    Raises:
        EngineError: an unknown device, or an engine requested by name that cannot run here, or not in that way.
    """
    if device != "auto":
        check_device(device)
    variants: dict[Variant, None] = {}
    refused: list[NotRun] = []
    for name, (asked, place) in _names(model, engines, precisions, device).items():
        try:
            found = probe(name)
            places = _devices(name, found, device) if place is None else [place]
        except EngineError as error:
            if asked:
                raise
            refused.append(NotRun(name, None, None, None, one_line(error), asked=False))
            continue
        for where in places:
            for precision, meant in _precisions(model, name, precisions, where).items():
                try:
                    taken = choose(model, name, precision, where)
                except EngineError as error:
                    if asked and meant:
                        raise
                    refused.append(NotRun(name, precision, where, None, one_line(error), asked=False))
                else:
                    variants[Variant(taken.backend, taken.precision, taken.device)] = None
    return list(variants), refused


def _names(model: ModelFiles, engines: Sequence[str], precisions: Sequence[str], device: str) -> dict[str, tuple[bool, str | None]]:
    """Return the engines, whether each was requested by name, and its device; None: those that it finds."""
    names: dict[str, tuple[bool, str | None]] = {}
    for text in engines:
        if text == "all":
            names |= {name: (names.get(name, (False, None))[0], None) for name in BACKENDS}
        elif text == "auto":
            first = next((precision for precision in precisions if precision not in ("auto", "all")), "auto")
            choice = choose(model, "auto", first, device)
            names.setdefault(choice.backend, (False, choice.device))
        else:
            place = None if text in names and names[text][1] is None else choose(model, text, "auto", device).device
            names[text] = (True, place if device == "auto" else None)
    return names


def _devices(name: str, found: Probe, device: str) -> list[str]:
    known = [where for where in found.devices if kind_of(where) in BACKENDS[name].precisions]
    if device == "auto":
        return list({kind_of(where): where for where in reversed(known)}.values())[::-1]
    # ``cuda`` is any device of its kind, and an engine that has only the kind can be given a number.
    fits = [where for where in known if device == where or kind_of(where) == device]
    if not fits and kind_of(device) in known:
        fits = [device]
    if not fits:
        raise EngineUnavailableError(f"{name} does not run on {device} here; it runs on {', '.join(known)}")
    return fits[:1]


def _precisions(model: ModelFiles, name: str, precisions: Sequence[str], device: str) -> dict[str, bool]:
    """Return the precisions and whether each was requested by name."""
    wanted: dict[str, bool] = {}
    for text in precisions:
        if text == "all":
            wanted |= {precision: wanted.get(precision, False) for precision in BACKENDS[name].precisions[kind_of(device)]}
        elif text == "auto":
            wanted.setdefault(choose(model, name, "auto", device).precision, False)
        else:
            wanted[text] = True
    return wanted
