"""The named ingredients of the shipped network's recipe; each can be left out, to measure its effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from streammat.train.config import WIDE_SETS, WIDER_SETS, DataConfig
from streammat.train.errors import RunError
from streammat.train.lite.augment import NO_FAULTS, FaultConfig
from streammat.train.lite.scenes import SMALL, SceneConfig


@dataclass(frozen=True)
class Recipe:
    """Options for making the training images of the ``lite`` recipe."""

    data: DataConfig = field(default_factory=DataConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)
    faults: FaultConfig = field(default_factory=FaultConfig)


RECIPES: Mapping[str, Recipe] = {
    "cut-outs": Recipe(),
    "everybody": Recipe(
        DataConfig(sets=WIDE_SETS, everybody=True, original=0.55, empty=0.10, mosaic=0.35, cover=(0.2, 1.5)), faults=FaultConfig(grey=0.12)
    ),
    "everybody-objects": Recipe(
        DataConfig(sets=WIDE_SETS, everybody=True, original=0.55, empty=0.13, objects=0.35, mosaic=0.35, cover=(0.2, 1.5)), faults=FaultConfig(grey=0.12)
    ),
    "photographs": Recipe(
        DataConfig(sets=WIDER_SETS, everybody=True, original=0.72, empty=0.10, objects=0.35, mosaic=0.4, cover=(0.15, 1.5)), faults=FaultConfig(grey=0.12)
    ),
    "photographs-held": Recipe(
        DataConfig(sets=WIDER_SETS, everybody=True, original=0.62, empty=0.13, objects=0.5, mosaic=0.4, cover=(0.15, 1.5)),
        SceneConfig(held=0.3),
        FaultConfig(grey=0.12),
    ),
}
"""Recipes by name: a few sets whose masks show one subject each; many in which everybody is labelled
(`streammat.train.labels.labelling`), with more original images; these with more objects as backgrounds; more sets, nearly all
of whose images are used as they are; and the same with more composites, more things in hands, which those labels leave out, and more objects.
"""


def _scene(**fields: object) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, scene=replace(recipe.scene, **fields))  # type: ignore[arg-type]


def _data(**fields: object) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, data=replace(recipe.data, **fields))  # type: ignore[arg-type]


INGREDIENTS: Mapping[str, tuple[str, Callable[[Recipe], Recipe]]] = {
    "composites": ("no composites: images as taken and empty ones", _data(original=9.0)),
    "originals": ("no images as taken: composites and empty ones", _data(original=0.0, onto=0.0)),
    "street": ("people of street photographs as cut-outs alone", _data(street=False)),
    "crowd": ("one subject in each composite", _scene(crowd=(1.0,))),
    "small": ("no small subjects", _scene(small=0.0, height=(SMALL, SceneConfig.height[1]), portrait_height=SMALL)),
    "onto": ("no subjects put into images that have one", _data(onto=0.0)),
    "filled": ("no images without their subjects as backgrounds", _data(filled=0.0)),
    "beside": ("no backgrounds from beside a subject", _data(beside=0.0)),
    "photographs": ("rooms and landscapes alone as backgrounds", _data(filled=0.0, beside=0.0, onto=0.0)),
    "clutter": ("nothing but subjects before backgrounds", _scene(clutter=0.0, occluder=0.0, counter=0.0)),
    "fabric": ("no large fabrics in empty images", _scene(fabric=0.0)),
    "held": ("nothing in hands", _scene(held=0.0)),
    "light": ("no backlight, glare and shadows", _scene(backlight=0.0, glare=0.0, shadow=0.0)),
    "pattern": ("clothes as they are", _scene(pattern=0.0)),
    "coat": ("animals in their own fur", _scene(coat=0.0)),
    "tilt": ("level cameras", _scene(tilt=0.0)),
    "empty": ("a subject in every image", _data(empty=0.0)),
    "animals": ("people alone", _data(sets=tuple(entry for entry in DataConfig().sets if not entry[0].startswith("animals_")))),
    "faults": ("perfect cameras", lambda recipe: replace(recipe, faults=NO_FAULTS)),
}
"""Title and change of each variant, by the ingredient that is left out."""


def recipe_without(names: Sequence[str], base: str = "cut-outs") -> Recipe:
    """Return a recipe without some of its ingredients.

    Args:
        names: keys of `INGREDIENTS`.
        base: key of `RECIPES`.

    Raises:
        RunError: there is no such ingredient.
    """
    recipe = RECIPES[base]
    for name in names:
        if name not in INGREDIENTS:
            raise RunError(f"the recipe has no ingredient {name!r}; it has {', '.join(INGREDIENTS)}")
        recipe = INGREDIENTS[name][1](recipe)
    return recipe
