"""A user's program for mypy, as `scripts/check` runs it: right calls pass, and every wrong choice is an error (an unused ignore is one, too)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import streammat

rgb = np.zeros((64, 64, 3), np.uint8)


def right() -> None:
    """What must be accepted."""
    with streammat.Matting(quality="best", engine="onnxruntime", precision="int8", stable=True) as matting:
        matting(rgb).mean()
    with open("in.mp4", "rb") as file:
        streammat.process_video(file, Path("out.mp4"), background=rgb, include=rgb[:, :, 0] > 100, exclude=Path("mask.png"))
        streammat.process_video(file, "out.mp4", background=(0, 177, 64))
        for frame, alpha in streammat.mattes(file, duration=2):
            print(frame.rgb.shape, alpha.mean())
    streammat.LiveSession(camera=0, backgrounds=[rgb, "blur", (255, 0, 0), Path("beach.jpg")], outputs=[Path("rec.mkv")])
    streammat.process_video("in.mov", None, matte="matte.####.exr", fit="contain", alpha="premultiplied", depth="half", missing="hold", start="1:30", duration=2.5)
    with streammat.LiveSession(backgrounds=("beach.jpg",), quality="fast") as session:
        session.command("background", "blur:30")
        for event in session.events():
            match event:
                case streammat.events.Status(fps=fps, network=(width, _), sound=sound):
                    print(fps + width, 0.0 if sound is None else sound.seconds)
                case streammat.events.CameraLost(message) | streammat.events.OutputFailed(_, message):
                    print(message.upper())
                case streammat.events.Ended(engine, live):
                    print(engine.backend, live.fps, live.outputs[0].latency.p50_ms)
                case _:
                    print(event.event)
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
    streammat.process_video("in.mp4", "out.mp4", background=5)  # type: ignore[arg-type]
    streammat.process_video("in.mp4", "out.mp4", background=(0, 177))  # type: ignore[arg-type]
    streammat.process_video("in.mp4", "out.mp4", include=(1, 2, 3))  # type: ignore[arg-type]
    streammat.process_video(rgb, "out.mp4")  # type: ignore[arg-type]
    streammat.LiveSession(quality="bset")  # type: ignore[arg-type]
    streammat.LiveSession().command("puase")  # type: ignore[arg-type]
    for event in streammat.LiveSession().events():
        print(event["event"])  # type: ignore[index]
        print(event.fps)  # type: ignore[attr-defined]
        if isinstance(event, streammat.events.Status):
            print(event.framerate)  # type: ignore[attr-defined]
            event.fps = 1.0  # type: ignore[misc]
            print(event.background + 1)  # type: ignore[operator]
