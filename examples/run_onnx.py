"""Cuts the subject out of an image with an exported model: ``python run_onnx.py lite.onnx in.jpg out.png``; needs nothing of streammat."""

import sys

import cv2
import numpy as np
import onnxruntime

model, source, target = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
bgr = cv2.imread(source)
scale = max(5 / 13, (256 * 480 / bgr[:, :, 0].size) ** 0.5)  # the rule that the metadata tells
fixed = session.get_inputs()[0].shape[1:3]  # numbers where the file has a size of its own, else names
sides = [s if isinstance(s, int) else int(side * scale) // 32 * 32 for s, side in zip(fixed, bgr.shape, strict=False)]
small = cv2.resize(bgr, sides[::-1], interpolation=cv2.INTER_AREA)
alpha = session.run(["alpha"], {"rgb": cv2.cvtColor(small, cv2.COLOR_BGR2RGB)[None]})[0][0]
alpha = np.clip(cv2.resize(alpha, bgr.shape[1::-1], interpolation=cv2.INTER_LINEAR), 0, 1)
cv2.imwrite(target, np.dstack([bgr, np.rint(alpha * 255).astype(np.uint8)]))
