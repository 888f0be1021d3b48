"""A live run from a program: start, switch the background, read events, stop.

python examples/webcam_loop.py [CAMERA] [OUTPUT] [SECONDS]
"""

import sys

import streammat

camera, output, seconds = (*sys.argv[1:], *("0", "camera", "30")[len(sys.argv) - 1 :])
with streammat.LiveSession(camera=camera, outputs=(output,), backgrounds=("blur", "green"), loop=True, duration=float(seconds)) as session:
    for count, event in enumerate(session.events()):
        if isinstance(event, streammat.events.Status):
            print(f"{event.fps} frames per second, {event.latency_p50_ms:.0f} ms late, on {event.background}")
        if count == 1:
            session.command("next")
    report = session.wait()
print(f"{report.captured} frames captured, {report.dropped} dropped")
