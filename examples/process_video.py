"""A clip on another background, with its matte beside it.

python examples/process_video.py in.mp4 out.mp4 beach.jpg
"""

import sys

import streammat

source, target, background = sys.argv[1:4]
try:
    report = streammat.process_video(
        source, target, background=background, matte=f"{target}.matte.mkv", overwrite=True, progress=lambda done: print(f"{done} frames", end="\r")
    )
except streammat.StreammatError as error:
    sys.exit(f"{error}")
print(f"{report.frames_out} frames at {report.fps:.1f} per second")
for note in report.notes:
    print(f"note: {note}")
