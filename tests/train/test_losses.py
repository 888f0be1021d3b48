"""Losses against values worked by hand, and their gradients against differences."""

from __future__ import annotations

import pytest
import torch

from engines.gfm import GFMOutput
from train.losses import alpha_loss, gfm_loss, glance_target, laplacian_loss


def test_alpha_loss_by_hand() -> None:
    prediction = torch.tensor([0.5, 0.0, 1.0, 0.25]).view(1, 1, 2, 2)
    target = torch.tensor([1.0, 0.0, 0.0, 0.25]).view(1, 1, 2, 2)
    weight = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 2, 2)
    assert alpha_loss(prediction, target, weight).item() == pytest.approx(0.25, abs=1e-4)
    assert alpha_loss(prediction, target, torch.ones_like(weight)).item() == pytest.approx(1.5 / 4, abs=1e-4)
    assert alpha_loss(prediction, target, torch.zeros_like(weight)).item() == 0.0


def test_laplacian_of_a_constant_error_is_its_low_pass() -> None:
    # A constant has no detail: only the last level (weight 16) sees it, at 1/16 of each side, so 1/256 of the pixels.
    prediction, target = torch.full((1, 1, 64, 64), 0.5), torch.zeros(1, 1, 64, 64)
    value = laplacian_loss(prediction, target, torch.ones_like(target))
    assert value.item() == pytest.approx(0.5 * 16 / 256, rel=1e-3)
    assert laplacian_loss(target, target, torch.ones_like(target)).item() == 0.0


def test_laplacian_sees_detail() -> None:
    target = torch.zeros(1, 1, 64, 64)
    stripes = target.clone()
    stripes[..., ::2] = 0.2
    flat = torch.full_like(target, 0.1)
    weight = torch.ones_like(target)
    assert laplacian_loss(stripes, target, weight) > 3 * laplacian_loss(flat, target, weight)


def test_gradients() -> None:
    torch.manual_seed(0)
    prediction = torch.rand(1, 1, 12, 10, dtype=torch.float64, requires_grad=True)
    target = torch.rand(1, 1, 12, 10, dtype=torch.float64)
    weight = torch.rand(1, 1, 12, 10, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: laplacian_loss(x, target, weight), prediction)
    assert torch.autograd.gradcheck(lambda x: alpha_loss(x, target, weight), prediction)


def test_glance_classes() -> None:
    alpha = torch.zeros(1, 1, 128, 128)
    alpha[..., 64:] = 1.0
    alpha[0, 0, 10, 10] = 0.5
    classes = glance_target(alpha, 2)[0]
    assert classes[64, 0] == 0
    assert classes[64, 127] == 2
    # 25 px at a short side of 800 is 4 px of this 128 px output: a radius of 2.
    assert classes[64, 61:68].tolist() == [0, 1, 1, 1, 1, 2, 2]
    assert classes[10, 10] == classes[12, 12] == 1
    assert classes[13, 13] == 0


def test_perfect_output_costs_nothing() -> None:
    alpha = torch.zeros(1, 1, 64, 64)
    alpha[..., 32:] = 1.0
    classes = glance_target(alpha, 2)
    logits = 40.0 * torch.nn.functional.one_hot(classes, 3).permute(0, 3, 1, 2).float()
    parts = gfm_loss(GFMOutput(logits, alpha, alpha), alpha, torch.ones_like(alpha), 2)
    assert parts.total.item() == pytest.approx(0.0, abs=1e-4)
    worse = gfm_loss(GFMOutput(logits, alpha, 1 - alpha), alpha, torch.full_like(alpha, 0.5), 2)
    assert worse.composition.item() == pytest.approx(0.5)
    assert worse.alpha.item() == pytest.approx(1.0, abs=1e-4)
