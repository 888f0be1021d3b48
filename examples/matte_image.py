"""The alpha of one image, and the image with its background taken out.

python examples/matte_image.py me.jpg me.png
"""

import sys

import cv2
import numpy as np

import streammat

source, target = sys.argv[1:3]
alpha = streammat.matte(source)  # float32 (H, W), 0..1
print(f"{alpha.shape[1]}x{alpha.shape[0]}, {100 * np.mean(alpha > 0.5):.1f} % of it is the subject")
rgba = streammat.cutout(source)  # uint8 (H, W, 4), straight alpha
cv2.imwrite(target, cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))
