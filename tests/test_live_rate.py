"""Holding the rate: down when frames are dropped, up again with patience, never to and fro."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streammat.config import LiveOptions, MattingOptions
from streammat.engines.base import EngineSpec
from streammat.live.quality import QualityController, QualityLevel, levels

SIZE = (720, 1280)
SPEC = EngineSpec("lite", "onnxruntime", "fp32", "cpu", 2, (288, 512), "0", "a test")


def options(**matting: object) -> LiveOptions:
    return LiveOptions(matting=replace(MattingOptions(), **matting))  # type: ignore[arg-type]


def test_levels_go_from_what_was_asked_for_to_the_cheapest() -> None:
    steps = levels(options(quality="best"), SPEC, SIZE)
    ways = [(step.matting.quality, step.decontaminate) for step in steps]
    assert ways[0] == ("best", True)
    assert ways[-2:] == [("fast", True), ("fast", False)]
    assert [step.cost for step in steps] == sorted((step.cost for step in steps), reverse=True)


@pytest.mark.parametrize("asked", ["auto", "fp32"])
def test_every_level_has_the_precision_that_the_engine_took(asked: str) -> None:
    """A model without an int8 file, or one that was asked for in fp32, cannot be stepped to int8."""
    assert {step.matting.precision for step in levels(options(precision=asked), SPEC, SIZE)} == {"fp32"}


class Machine:
    """A machine that keeps up from ``fits`` on, fed to a holder second by second."""

    def __init__(self, holder: QualityController, fits: int) -> None:
        self.holder, self.fits = holder, fits
        self.now = 0.0
        self.captured = self.composed = 0
        self.changes: list[tuple[float, int]] = []

    def run(self, seconds: float, busy_ms: float) -> None:
        for _ in range(round(10 * seconds)):
            self.now += 0.1
            self.captured += 3
            self.composed += 3 if self.holder.index >= self.fits else 1
            if self.holder.update(self.now, self.captured, self.composed, busy_ms, 30.0):
                self.changes.append((self.now, self.holder.index))


def holder() -> QualityController:
    return QualityController(tuple(QualityLevel(MattingOptions(), decontaminate=True, cost=cost) for cost in (4.0, 2.0, 1.0)))


def test_it_steps_down_until_the_rate_holds_and_stays() -> None:
    machine = Machine(holder(), fits=1)
    machine.run(60, busy_ms=20)
    assert [index for _, index in machine.changes] == [1]
    assert machine.changes[0][0] < 7


def test_the_cheapest_is_the_end() -> None:
    machine = Machine(holder(), fits=9)
    machine.run(60, busy_ms=90)
    assert [index for _, index in machine.changes] == [1, 2]


def test_it_steps_up_again_when_there_is_room() -> None:
    machine = Machine(holder(), fits=2)
    machine.run(30, busy_ms=15)
    assert machine.holder.index == 2
    machine.fits = 0
    machine.run(60, busy_ms=5)
    assert machine.holder.index == 0


def test_steps_up_that_do_not_hold_become_rarer() -> None:
    """The stages would fit, but something else takes the machine's time each time it steps up."""
    machine = Machine(holder(), fits=1)
    machine.run(600, busy_ms=5)
    ups = [at for (at, index), (_, before) in zip(machine.changes[1:], machine.changes, strict=False) if index < before]
    gaps = [later - earlier for earlier, later in zip(ups, ups[1:], strict=False)]
    assert len(ups) >= 3
    assert gaps[-1] > 2 * gaps[0]


def test_a_camera_that_is_away_changes_nothing() -> None:
    watched = holder()
    for tick in range(1000):
        assert not watched.update(tick * 0.1, 50, 20, 90.0, 30.0)
