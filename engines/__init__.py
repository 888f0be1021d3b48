"""The matting network and the engines that run it: image in, alpha out; nothing here depends on video."""

import os

# ONNX Runtime's wheels tell Microsoft of their use, under a number that they keep in the user's cache, unless this is set
# before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
