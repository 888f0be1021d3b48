"""A user's program for mypy, as `scripts/check` runs it: right calls pass, and every wrong choice is an error (an unused ignore is one, too)."""

from __future__ import annotations

import numpy as np

import streammat

rgb = np.zeros((64, 64, 3), np.uint8)


def right() -> None:
    """What must be accepted."""
    with streammat.Matting(quality="best", engine="onnxruntime", precision="int8", stable=True) as matting:
        matting(rgb).mean()
    streammat.process_video("in.mov", None, matte="matte.####.exr", fit="contain", alpha="premultiplied", depth="half", missing="hold", start="1:30", duration=2.5)
    with streammat.LiveSession(backgrounds=("beach.jpg",), quality="fast") as session:
        session.command("background", "blur:30")
        report = session.stop()
    print("" if report is None else report.fps)


def wrong() -> None:
    """What must be refused."""
    streammat.matte(rgb, quality="bset")  # type: ignore[arg-type]
    streammat.cutout(rgb, precision="fp61")  # type: ignore[arg-type]
    streammat.Matting(engine="openvno")  # type: ignore[arg-type]
    streammat.mattes("in.mp4", quality="slow")  # type: ignore[arg-type]
    streammat.process_video("in.mp4", "out.mp4", fit="fill")  # type: ignore[arg-type]
    streammat.process_video("in.mp4", "out.mov", alpha="straigt")  # type: ignore[arg-type]
    streammat.process_video("in.####.exr", "out.####.exr", missing="ignore")  # type: ignore[arg-type]
    streammat.process_video("in.####.exr", "out.####.exr", compression="zipp")  # type: ignore[arg-type]
    streammat.process_video("in.####.exr", "out.####.exr", depth="32")  # type: ignore[arg-type]
    streammat.process_video("in.mp4", "out.mp4", colour="red")  # type: ignore[call-arg]
    streammat.LiveSession(quality="bset")  # type: ignore[arg-type]
    streammat.LiveSession().command("puase")  # type: ignore[arg-type]
