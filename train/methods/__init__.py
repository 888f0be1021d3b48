"""The methods that the paper compares GFM with, one class and one file each."""

from __future__ import annotations

from train.methods.base import Matte, Method, Model, Targets
from train.methods.dim import DIM
from train.methods.gca import GCA
from train.methods.hatt import HATT
from train.methods.indexnet import IndexNet
from train.methods.lf import LF
from train.methods.shm import SHM
from train.methods.shmc import SHMC

METHODS: dict[str, type[Method]] = {method.NAME: method for method in (SHM, LF, HATT, SHMC, DIM, IndexNet, GCA)}
"""By name: what ``TrainConfig.network`` and presets call them."""

__all__ = ["DIM", "GCA", "HATT", "LF", "METHODS", "SHM", "SHMC", "IndexNet", "Matte", "Method", "Model", "Targets"]
