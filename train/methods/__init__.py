"""The methods that the paper compares GFM with, one class and one file each."""

from __future__ import annotations

from streammat.train.methods.base import Method, MethodResult, Model, Targets
from streammat.train.methods.dim import DIM
from streammat.train.methods.gca import GCA
from streammat.train.methods.hatt import HATT
from streammat.train.methods.indexnet import IndexNet
from streammat.train.methods.lf import LF
from streammat.train.methods.shm import SHM
from streammat.train.methods.shmc import SHMC

METHODS: dict[str, type[Method]] = {method.NAME: method for method in (SHM, LF, HATT, SHMC, DIM, IndexNet, GCA)}
"""The methods, by their names in ``TrainConfig.network`` and presets."""

__all__ = ["DIM", "GCA", "HATT", "LF", "METHODS", "SHM", "SHMC", "IndexNet", "Method", "MethodResult", "Model", "Targets"]
