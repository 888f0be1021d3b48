"""A validation set of difficult cases: held-out subjects in front of held-out rooms, one difficulty at a time.

The official validation images show one large subject each. Users' complaints are about other cases: several people, small ones,
bodies cut by frame and furniture, bad light, bad cameras, and empty rooms. The images here are made as training
images are, from subjects and backgrounds that are held out of training; they show the effect of a change on one difficulty, not
the quality on photographs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from streammat.train.config import DataConfig
from streammat.train.data.pool import write_image
from streammat.train.data.samples import Key, Sample
from streammat.train.lite.augment import NO_FAULTS, FaultConfig
from streammat.train.lite.dataset import MattingDataset
from streammat.train.lite.scenes import SceneConfig

SIZES = ((288, 512), (416, 736), (512, 384))
"""Height and width: 720p and 1080p video as the network sees it, and an upright photograph."""
SEED = 4096
_PLAIN = SceneConfig(crowd=(1.0,), height=(0.4, 1.25), small=0.0, clutter=0.0, fabric=0.0, occluder=0.0, held=0.0, counter=0.0, pattern=0.0,
                     coat=0.0, backlight=0.0, glare=0.0, tilt=0.0)
_COMPOSITE = DataConfig(original=0.0, empty=0.0, onto=0.0, filled=0.0, beside=0.0)
_ANIMALS = tuple((name, share) for name, share in DataConfig().sets if name.startswith("animals_"))
_PEOPLE = tuple((name, share) for name, share in DataConfig().sets if name.startswith("people_"))


@dataclass(frozen=True)
class Difficulty:
    """One part of the set."""

    scene: SceneConfig = _PLAIN
    data: DataConfig = _COMPOSITE
    faults: FaultConfig = field(default=NO_FAULTS)


DIFFICULTIES: dict[str, Difficulty] = {
    "people": Difficulty(data=replace(_COMPOSITE, sets=_PEOPLE)),
    "animals": Difficulty(data=replace(_COMPOSITE, sets=_ANIMALS)),
    "as_taken": Difficulty(data=replace(_COMPOSITE, original=9.0, cover=(0.3, 1.0))),
    "close": Difficulty(data=replace(_COMPOSITE, original=9.0, cover=(1.3, 2.4))),
    "several": Difficulty(replace(_PLAIN, crowd=(0.0, 0.4, 0.3, 0.3))),
    "small": Difficulty(replace(_PLAIN, height=(0.13, 1.25), small=1.0)),
    "onto": Difficulty(data=replace(_COMPOSITE, onto=1.0)),
    "counter": Difficulty(replace(_PLAIN, counter=1.0), replace(_COMPOSITE, sets=_PEOPLE)),
    "occluder": Difficulty(replace(_PLAIN, occluder=1.0)),
    "held": Difficulty(replace(_PLAIN, held=1.0), replace(_COMPOSITE, sets=_PEOPLE)),
    "clutter": Difficulty(replace(_PLAIN, clutter=1.0)),
    "pattern": Difficulty(replace(_PLAIN, pattern=1.0)),
    "backlight": Difficulty(replace(_PLAIN, backlight=1.0)),
    "tilt": Difficulty(replace(_PLAIN, tilt=1.0)),
    "dark": Difficulty(faults=replace(NO_FAULTS, dark=1.0)),
    "noise": Difficulty(faults=replace(NO_FAULTS, noise=1.0)),
    "blur": Difficulty(faults=replace(NO_FAULTS, blur=1.0)),
    "grey": Difficulty(faults=replace(NO_FAULTS, grey=1.0)),
    "jpeg": Difficulty(faults=replace(NO_FAULTS, jpeg=1.0)),
    "empty": Difficulty(replace(_PLAIN, clutter=0.35), replace(_COMPOSITE, empty=1.0)),
    "fabric": Difficulty(replace(_PLAIN, fabric=1.0), replace(_COMPOSITE, empty=1.0)),
}
"""The difficulties, by name of the folder."""


def write_hard(data: Path, cache: Path, out: Path, count: int, report: Callable[[str], None]) -> None:
    """Write the set, or the missing part of it.

    Args:
        data: folder of the recipe, with ``backgrounds``.
        cache: folder of mattes.
        out: folder for ``<difficulty>/img/*.png`` and ``<difficulty>/alpha/*.png``.
        count: images of each difficulty, at least 1; an image depends only on its difficulty and number.
        report: called with one line at a time.

    Raises:
        DataError: the cache is empty or lacks files that a difficulty needs.
        RunError: a file cannot be written.
    """
    for name, difficulty in DIFFICULTIES.items():
        folder = out / name
        missing = [number for number in range(count) if not (folder / "img" / f"{number:03}.png").exists()]
        report(f"{name}: {len(missing)} of {count} images to do")
        if not missing:
            continue
        dataset = MattingDataset(data, cache, difficulty.data, SEED, scene=difficulty.scene, faults=difficulty.faults, held=True)
        for number in missing:
            sample = _with_subject(dataset, number, wanted=difficulty.data.empty == 0)
            write_image(folder / "alpha" / f"{number:03}.png", sample.alpha)
            write_image(folder / "img" / f"{number:03}.png", sample.rgb)  # last: where it is, its alpha is


def _with_subject(dataset: MattingDataset, number: int, *, wanted: bool) -> Sample:
    """Make image ``number``; if its subject is completely hidden, make a substitute."""
    height, width = SIZES[number % len(SIZES)]
    for attempt in range(8):
        sample = dataset[Key(number + 100_000 * attempt, height, width)]
        if not wanted or sample.alpha.mean() > 1.0:
            break
    return sample
