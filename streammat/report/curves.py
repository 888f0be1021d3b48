"""Draws a shot's measures over time with matplotlib."""

from __future__ import annotations

import io
from importlib.util import find_spec
from typing import Final

from streammat.errors import UsageError
from streammat.report.collect import ShotReport

CURVES: Final = {
    "area": "area: share of the frame",
    "confidence": "confidence: how decided alpha is inside the subject",
    "flicker": "flicker: change of alpha where the image stands still",
    "edge": "edge: length of the outline over that of a disc",
}
"""The measures to draw, of `streammat.report.measures.COLUMNS`, with their titles."""
_WIDTH, _HEIGHT = 10.0, 1.25
"""Size of one curve in inches."""
_INK, _LINE, _MARK, _GROUND = "#9aa1ad", "#8ab4f8", "#f0b86e", "#1f2228"


def check_plots() -> None:
    """Refuse to draw if matplotlib is missing.

    Raises:
        UsageError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise UsageError("--report: its curves need matplotlib, which is not installed; install it with pip install 'streammat[film]'")


def curves_of(shot: ShotReport) -> bytes:
    """Return the curves as SVG, one below the other over the frames' numbers; frames to check and cuts are marked."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with rc_context({"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 8, "text.color": _INK, "svg.hashsalt": shot.name}):
        figure = Figure(figsize=(_WIDTH, _HEIGHT * len(CURVES)), layout="constrained", facecolor="none")
        for axes, (column, title) in zip(figure.subplots(len(CURVES), 1, sharex=True), CURVES.items(), strict=True):
            axes.plot(shot.frames, shot.values[column], color=_LINE, linewidth=0.9)
            for check in shot.checks:
                axes.axvline(check.frame, color=_MARK, linewidth=0.8, alpha=0.6)
            for cut in shot.cuts:
                axes.axvline(shot.frames[cut], color=_INK, linewidth=0.6, linestyle=":")
            axes.set_title(title, loc="left", fontsize=8)
            axes.set_facecolor(_GROUND)
            axes.set_ylim(bottom=0)
            axes.margins(x=0)
            axes.tick_params(colors=_INK, labelsize=7)
            axes.spines[:].set_visible(False)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()
