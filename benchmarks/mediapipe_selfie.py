# ruff: noqa: INP001 - scripts are no package
"""MediaPipe's selfie segmentation on the validation images, scored as `python -m train score` scores ours.

    pip install 'mediapipe==0.10.21'        # in an environment of its own: it wants an older numpy than streammat
    PYTHONPATH=. python benchmarks/mediapipe_selfie.py --data DATA --hard HARD

It is given every image whole, takes it to 256x256 itself (model 0) and gives a mask of the image's size. It was made for
people near the camera, so animals are not its task.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from streammat.train.data.images import read_alpha, read_rgb
from streammat.train.evaluation import metrics
from streammat.train.lite.validation import ImageScore, Scores, by_share, hard_sets, validation_sets


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--hard", type=Path)
    options = parser.parse_args()
    from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

    everything: list[ImageScore] = []
    for title, pairs in (validation_sets(options.data) | (hard_sets(options.hard) if options.hard else {})).items():
        found = []
        for pair in pairs:
            rgb, truth = read_rgb(pair.image), read_alpha(pair.label).astype(np.float32) / 255.0
            with SelfieSegmentation(model_selection=0) as network:  # anew: it filters over time
                alpha = np.clip(network.process(rgb).segmentation_mask, 0, 1)
            values = (metrics.iou(alpha, truth), metrics.mad(alpha, truth), metrics.mse(alpha, truth), metrics.sad(alpha, truth))
            found.append(ImageScore(pair, float(truth.mean()), *values))
        everything += found
        tell(title, Scores.of(found))
    for title, scores in by_share(everything).items():
        tell(f"subject {title}", scores)


def tell(title: str, scores: Scores) -> None:
    """One line, as `python -m train score` prints it."""
    print(f"{title:24} {scores.pictures:4} images  iou {scores.iou:.4f}  mad {scores.mad:.4f}")


if __name__ == "__main__":
    main()
