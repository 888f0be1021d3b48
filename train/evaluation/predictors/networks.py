"""Mattings for evaluation (`streammat.train.evaluation.evaluate.Predictor`): networks by test strategy, their ensembles, GFM's
trimap with a trimap-based method. Each takes whole images and returns one matte for each test strategy, by the strategy's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.engines.base import Engine
from streammat.engines.choice import open_engine
from streammat.engines.model_files import ModelFiles
from streammat.engines.network.gfm import GFM
from streammat.train.data.images import Image
from streammat.train.errors import DataError
from streammat.train.evaluation.evaluate import Predictor, TrimapPredictor
from streammat.train.evaluation.predictors.strategies import (
    Strategy,
    enlarge,
    glance_trimap,
    input_size,
    median_ensemble,
    predict_alphas,
    predict_method,
)
from streammat.train.evaluation.predictors.trimap_methods import TrimapMethod
from streammat.train.methods.base import Method


def network_matting(models: Sequence[GFM], strategies: Sequence[Strategy]) -> Predictor:
    """Return a matting that runs networks by test strategies.

    Args:
        models: one, or several for their median (EN-median: TT, FT and BT).
        strategies: one matte for each.
    """

    def matting(rgb: Image) -> dict[str, NDArray[np.float32]]:
        mattes = [predict_alphas(model, rgb, strategies) for model in models]
        several = f"median of {len(models)}, " if len(models) > 1 else ""
        return {f"{several}{strategy}": median_ensemble([by[strategy] for by in mattes]) for strategy in strategies}

    return matting


def method_matting(model: Method, strategies: Sequence[Strategy]) -> Predictor:
    """Return a matting that runs another method than GFM, without a trimap, in single passes.

    Raises:
        DataError: a strategy has two sizes, or the method needs a trimap.
    """
    _check_single(model, strategies)
    if model.NEEDS_TRIMAP:
        raise DataError(f"method {model.NAME} needs a trimap beside each image; `python -m train evaluate` takes those of the data set")
    return lambda rgb: {str(strategy): predict_method(model, rgb, strategy.glance_ratio) for strategy in strategies}


def given_trimap_matting(model: Method, strategies: Sequence[Strategy]) -> TrimapPredictor:
    """Return a matting that runs a trimap-based method on images and their trimaps, in single passes.

    Raises:
        DataError: a strategy has two sizes.
    """
    _check_single(model, strategies)
    return lambda rgb, trimap: {str(strategy): predict_method(model, rgb, strategy.glance_ratio, trimap) for strategy in strategies}


def _check_single(model: Method, strategies: Sequence[Strategy]) -> None:
    if hybrid := next((strategy for strategy in strategies if not strategy.single), None):
        raise DataError(f"method {model.NAME} has one pass; expected --strategy single or one ratio, not {hybrid}")


def trimap_matting(model: GFM, ratios: Sequence[Fraction], method: TrimapMethod, name: str) -> Predictor:
    """Return a matting that feeds the network's glance as a trimap to a trimap-based method (Table 3).

    Args:
        model: a network of RoSTa TT or RIM.
        ratios: relative sizes of the glance's input; one matte for each.
        method: the method, as from `streammat.train.evaluation.predictors.trimap_methods.open_trimap_method`.
        name: name of the method, for the result's.

    Raises:
        DataError: the network's glance has no transition class.
    """
    if "TT" not in model.heads:
        raise DataError(f"the glance of RoSTa {model.rosta} gives no trimap; give a network of RoSTa TT or RIM")

    def matting(rgb: Image) -> dict[str, NDArray[np.float32]]:
        return {f"trimap of glance {ratio}, {name}": method(rgb, glance_trimap(model, rgb, ratio)) for ratio in ratios}

    return matting


def exported_matting(path: Path, backend: str, strategies: Sequence[Strategy]) -> Predictor:
    """Return a matting that runs an exported network, ONNX as `streammat.engines.export.onnx` writes it; it fuses its two
    decoders inside, so only single passes are possible.

    Args:
        path: the ``.onnx`` file.
        backend: as in `streammat.engines.choice.open_engine`.
        strategies: single passes.

    Raises:
        DataError: a strategy has two sizes.
    """
    hybrid = next((strategy for strategy in strategies if not strategy.single), None)
    if hybrid is not None:
        raise DataError(f"{path} is exported and has one pass; expected --strategy single or one ratio, not {hybrid}")
    files = ModelFiles(path.stem, path)
    opened: dict[tuple[int, int], Engine] = {}

    def matting(rgb: Image) -> dict[str, NDArray[np.float32]]:
        mattes = {}
        for strategy in strategies:
            size = input_size(rgb.shape[0], rgb.shape[1], strategy.glance_ratio)
            if size not in opened:
                while len(opened) >= _ENGINES:  # data sets have images of many sizes, and an engine is made for one
                    opened.pop(next(iter(opened))).close()
                opened[size] = open_engine(files, backend, "fp32", size)
            small = np.asarray(cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
            alpha = opened[size].infer(small[None])[0]
            mattes[str(strategy)] = enlarge(alpha[:, :, None], rgb.shape[:2])[:, :, 0].clip(0.0, 1.0)
        return mattes

    return matting


_ENGINES = 4
"""Number of engines kept open."""
