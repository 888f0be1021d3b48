"""Any background that a program can draw: here stripes that move with the frame's own time.

python examples/custom_background.py in.mp4 out.mp4
"""

import sys
from fractions import Fraction

import av
import numpy as np

import streammat

source, target = sys.argv[1:3]
with av.open(target, "w") as output:
    stream = None
    for frame, alpha in streammat.mattes(source):
        height, width = alpha.shape
        if stream is None:
            stream = output.add_stream("h264", rate=25)
            stream.width, stream.height, stream.pix_fmt, stream.time_base = width, height, "yuv420p", Fraction(1, 90000)
        x = np.arange(width) + 60.0 * float(frame.time)
        stripes = np.where((x // 40) % 2 == 0, 210, 90)[None, :, None] * np.ones((height, 1, 3))
        drawn = alpha[:, :, None] * frame.rgb + (1 - alpha[:, :, None]) * stripes
        image = av.VideoFrame.from_ndarray(np.rint(drawn).astype(np.uint8), format="rgb24")
        image.pts, image.time_base = frame.pts, frame.time_base
        output.mux(stream.encode(image))
    if stream is not None:
        output.mux(stream.encode(None))
