"""Scores networks on sequences of frames in order: quality of each frame, and steadiness.

``python -m train sequences`` makes the table. Unlike `streammat.train.evaluation.peers.images`, which scores single images, each network
sees a sequence as it would see a video: RobustVideoMatting with its recurrent state, ours with the matte of the frame before
where its weights have a memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from streammat.engines.network.gfm import GFM
from streammat.train.data.images import Image, read_alpha, read_rgb
from streammat.train.errors import DataError
from streammat.train.measures import metrics
from streammat.train.measures.contact_sheet import on_colour
from streammat.train.measures.validation import Pair, list_pairs, network_size

SequenceMatting = Callable[[Sequence[Image]], list[NDArray[np.float32]]]
"""A function from all frames of a sequence in order, uint8 (H, W, 3) RGB each, to their alphas, float32 (H, W)."""
FOUND = 0.7
"""IoU from which a subject counts as found in a frame."""


@dataclass(frozen=True)
class SequenceScore:
    """Scores of one network on one sequence."""

    network: str
    sequence: str
    frames: int
    iou: float
    """IoU at alpha > 0.5, mean over the frames."""
    mad: float
    dtssd: float
    """Mean over pairs of frames of the RMS difference of the change of alpha and of its label, times 100 (Erofeev et al. 2015)."""
    jump: float
    """Largest change of the matte's area between two frames beyond the label's, as a share of the larger area."""
    found: float
    """Share of the frames whose IoU is at least `FOUND`."""


def list_sequences(folder: Path) -> dict[str, list[Pair]]:
    """List the sequences by name, with frames in the order of their names.

    Args:
        folder: holds ``<sequence>/img`` and ``<sequence>/mask`` or ``alpha``, or ``JPEGImages/480p/<sequence>`` and
            ``Annotations/480p/<sequence>``, as DAVIS does.

    Raises:
        DataError: there are none.
    """
    images, labels = folder / "JPEGImages" / "480p", folder / "Annotations" / "480p"
    if images.is_dir():
        found = {
            clip.name: [Pair(path, labels / clip.name / f"{path.stem}.png") for path in sorted(clip.glob("*.jpg")) if (labels / clip.name / f"{path.stem}.png").exists()]
            for clip in sorted(images.iterdir())
        }
    else:
        found = {clip.name: list_pairs(clip) for clip in sorted(folder.iterdir()) if clip.is_dir()}
    found = {name: pairs for name, pairs in found.items() if len(pairs) > 1}
    if not found:
        raise DataError(f"no sequences in {folder}; expected <sequence>/img with <sequence>/mask or alpha, or the folders of DAVIS")
    return found


def our_matting(network: GFM, *, remembers: bool, pixels: int = 288 * 512) -> SequenceMatting:
    """Return a matting by our network at about ``pixels`` pixels, with the previous frame's matte if it ``remembers``."""

    @torch.inference_mode()
    def matte(frames: Sequence[Image]) -> list[NDArray[np.float32]]:
        height, width = frames[0].shape[:2]
        size = network_size(height, width, pixels)
        previous, alphas = None, []
        for rgb in frames:
            small = cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA)
            alpha = network.predict(torch.from_numpy(small).permute(2, 0, 1)[None].float(), previous).alpha
            previous = alpha if remembers else None
            alphas.append(np.asarray(cv2.resize(alpha[0, 0].numpy(), (width, height), interpolation=cv2.INTER_LINEAR), np.float32))
        return alphas

    return matte


def score_sequence(network: str, name: str, alphas: Sequence[NDArray[np.float32]], labels: Sequence[NDArray[np.float32]]) -> SequenceScore:
    """Compare the mattes of a sequence with its labels, both float32 (H, W), 0..1."""
    ious = [metrics.iou(alpha, label) for alpha, label in zip(alphas, labels, strict=True)]
    mads = [metrics.mad(alpha, label) for alpha, label in zip(alphas, labels, strict=True)]
    errors = [alpha - label for alpha, label in zip(alphas, labels, strict=True)]
    changes = [float(np.sqrt(np.square(after - before).mean())) for before, after in itertools.pairwise(errors)]
    areas, truths = ([float(plane.mean()) for plane in planes] for planes in (alphas, labels))
    pairs = zip(itertools.pairwise(areas), itertools.pairwise(truths), strict=True)
    jumps = [abs((a1 - a0) - (t1 - t0)) / max(a0, a1, 0.01) for (a0, a1), (t0, t1) in pairs]
    return SequenceScore(
        network, name, len(alphas), float(np.mean(ious)), float(np.mean(mads)), 100 * float(np.mean(changes)), max(jumps), float(np.mean([iou >= FOUND for iou in ious]))
    )


def compare(
    networks: Mapping[str, SequenceMatting], sequences: Mapping[str, Sequence[Pair]], report: Callable[[str], None], shown: Path | None = None, rate: int = 24
) -> list[SequenceScore]:
    """Score every network on every sequence.

    Args:
        networks: by name.
        sequences: frames with labels by name.
        report: called with a line for each row.
        shown: folder that receives ``<sequence>.mp4`` each: the frames, and beside them what each network cuts out.
        rate: of those, in frames per second.
    """
    scores = []
    for name, pairs in sequences.items():
        frames = [read_rgb(pair.image) for pair in pairs]
        labels = [_fitted(read_alpha(pair.label), frame) for pair, frame in zip(pairs, frames, strict=True)]
        cuts = []
        for network, matte in networks.items():
            alphas = matte(frames)
            score = score_sequence(network, name, alphas, labels)
            scores.append(score)
            report(f"{name:20} {network:24} " + ", ".join(f"{key} {value:.4f}" for key, value in list(vars(score).items())[3:]))
            cuts.append(alphas)
        if shown is not None:
            write_beside(shown / f"{name}.mp4", frames, cuts, rate)
    return scores


def table(scores: Sequence[SequenceScore]) -> str:
    """Return a Markdown table: a row for each sequence and one for their mean, a column for each network, ``IoU / MAD / dtSSD /
    jump / found``.
    """
    networks = list(dict.fromkeys(score.network for score in scores))
    lines = [f"| sequence | frames | {' | '.join(networks)} |", "|---|---|" + "---|" * len(networks)]
    names = list(dict.fromkeys(score.sequence for score in scores))
    for name in [*names, "mean"]:
        chosen = [[score for score in scores if score.network == network and name in (score.sequence, "mean")] for network in networks]
        means = [np.mean([(s.iou, s.mad, s.dtssd, s.jump, s.found) for s in part], axis=0) for part in chosen]
        cells = [f"{iou:.3f} / {mad:.4f} / {dtssd:.2f} / {jump:.2f} / {found:.2f}" for iou, mad, dtssd, jump, found in means]
        lines.append(f"| {name} | {sum(s.frames for s in chosen[0])} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_beside(path: Path, frames: Sequence[Image], cuts: Sequence[Sequence[NDArray[np.float32]]], rate: int | Fraction) -> None:
    """Write a video of the frames, and of what each network cuts out of them on green, side by side.

    Raises:
        DataError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            height, width = (side - side % 2 for side in frames[0].shape[:2])
            stream = container.add_stream("libx264", rate, options={"crf": "20"})
            stream.width, stream.height, stream.pix_fmt = width * (1 + len(cuts)), height, "yuv420p"
            for number, rgb in enumerate(frames):
                parts = [rgb, *(on_colour(rgb, np.rint(alphas[number] * 255).astype(np.uint8), (0, 177, 64)) for alphas in cuts)]
                row = np.concatenate([part[:height, :width] for part in parts], axis=1)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(row), format="rgb24")))
            container.mux(stream.encode(None))
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}; give another folder") from error


def _fitted(label: Image, frame: Image) -> NDArray[np.float32]:
    values = label.astype(np.float32) / 255.0
    return values if values.shape == frame.shape[:2] else np.asarray(cv2.resize(values, frame.shape[1::-1], interpolation=cv2.INTER_AREA), np.float32)
