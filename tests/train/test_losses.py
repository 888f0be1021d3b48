"""Losses against values worked by hand, and their gradients against differences."""

from __future__ import annotations

import math

import pytest
import torch

from streammat.engines.network.gfm import Head, Prediction
from streammat.train.config import LossConfig
from streammat.train.losses import (
    alpha_loss,
    composition_loss,
    focus_target,
    gfm_loss,
    glance_loss,
    laplacian_loss,
    term_names,
)


def plane(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows)[None, None]


def test_glance_loss_by_hand() -> None:
    # Pixel 0: logits (0, ln 3), so p = (1/4, 3/4); class 1 costs ln(4/3). Pixel 1: p = (1/2, 1/2) costs ln 2.
    logits = torch.tensor([[[[0.0, 0.0]], [[math.log(3.0), 0.0]]]])
    value = glance_loss(logits, torch.tensor([[[1, 0]]]))
    assert value.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_alpha_loss_by_hand() -> None:
    prediction, target = plane([0.5, 0.0], [1.0, 0.25]), plane([1.0, 0.0], [0.0, 0.25])
    weight = plane([1.0, 1.0], [0.0, 0.0])
    assert alpha_loss(prediction, target, weight).item() == pytest.approx(0.25, abs=1e-4)
    assert alpha_loss(prediction, target, torch.ones_like(weight)).item() == pytest.approx(1.5 / 4, abs=1e-4)
    assert alpha_loss(prediction, target, torch.zeros_like(weight)).item() == 0.0


def test_laplacian_of_a_constant_error_is_its_low_pass() -> None:
    # A constant has no detail: only the fifth level sees it, at 1/16 of each side, so with 1/256 of the pixels.
    prediction, target = torch.full((1, 1, 64, 64), 0.5), torch.zeros(1, 1, 64, 64)
    weight = torch.ones_like(target)
    assert laplacian_loss(prediction, target, weight).item() == pytest.approx(0.5 / 256, rel=1e-3)
    assert laplacian_loss(prediction, target, weight, 2.0).item() == pytest.approx(0.5 * 16 / 256, rel=1e-3)
    assert laplacian_loss(target, target, weight).item() == 0.0


def test_laplacian_of_a_pixel_by_hand() -> None:
    # On 1 x 1 every filter copies the only pixel: four bands are 0, the low-pass is the error, |0.75 - 0.25| = 0.5.
    assert laplacian_loss(plane([0.75]), plane([0.25]), plane([1.0])).item() == pytest.approx(0.5, rel=1e-5)
    # Half the weight halves both the difference and what it is divided by.
    assert laplacian_loss(plane([0.75]), plane([0.25]), plane([0.5])).item() == pytest.approx(0.5, rel=1e-5)


def test_laplacian_sees_detail() -> None:
    target = torch.zeros(1, 1, 64, 64)
    stripes = target.clone()
    stripes[..., ::2] = 0.2
    flat = torch.full_like(target, 0.1)
    weight = torch.ones_like(target)
    assert laplacian_loss(stripes, target, weight) > 3 * laplacian_loss(flat, target, weight)


def test_composition_loss_is_the_difference_of_composites() -> None:
    torch.manual_seed(0)
    alpha, wrong = torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4)
    foreground, background = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)

    def composite(matte: torch.Tensor) -> torch.Tensor:
        return matte * foreground + (1 - matte) * background

    contrast = (foreground - background).abs().mean(dim=1, keepdim=True)
    expected = (composite(wrong) - composite(alpha)).abs().mean()
    assert composition_loss(wrong, alpha, contrast).item() == pytest.approx(expected.item(), rel=1e-4)
    assert composition_loss(wrong, alpha, torch.zeros_like(contrast)).item() < 1e-5


def test_focus_targets_by_hand() -> None:
    alpha = plane([0.0, 0.3, 0.99, 1.0])
    target, weight = focus_target(alpha, torch.tensor([[[0, 1, 1, 2]]]), "TT")
    assert target is alpha
    assert weight.flatten().tolist() == [0.0, 1.0, 1.0, 0.0]
    target, weight = focus_target(alpha, torch.tensor([[[0, 0, 1, 1]]]), "FT")
    assert target.flatten().tolist() == pytest.approx([0.0, 0.3, 0.0, 0.0])  # 0.99 - 1 is clamped
    assert weight.flatten().tolist() == [1.0] * 4
    target, weight = focus_target(alpha, torch.tensor([[[0, 1, 1, 1]]]), "BT")
    assert target.flatten().tolist() == pytest.approx([0.0, 0.7, 0.01, 0.0], abs=1e-6)
    assert weight.flatten().tolist() == [1.0] * 4


def test_gradients() -> None:
    torch.manual_seed(0)
    prediction = torch.rand(1, 1, 12, 10, dtype=torch.float64, requires_grad=True)
    target, weight = (torch.rand(1, 1, 12, 10, dtype=torch.float64) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x: laplacian_loss(x, target, weight), prediction)
    assert torch.autograd.gradcheck(lambda x: laplacian_loss(x, target, weight, 2.0), prediction)
    assert torch.autograd.gradcheck(lambda x: alpha_loss(x, target, weight), prediction)
    assert torch.autograd.gradcheck(lambda x: composition_loss(x, target, weight), prediction)
    logits = torch.rand(1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    classes = torch.randint(0, 3, (1, 4, 5))
    assert torch.autograd.gradcheck(lambda x: glance_loss(x, classes), logits)


SIZE = (1, 1, 32, 32)


def truth() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Alpha with a ramp of 8 columns, and the classes of the three RoSTas that fit it."""
    alpha = torch.zeros(SIZE)
    alpha[..., 20:] = 1.0
    alpha[..., 12:20] = torch.linspace(0.1, 0.9, 8)
    columns = torch.arange(32).expand(1, 32, 32)
    inside, possible = (columns >= 22).long(), (columns >= 10).long()
    return alpha, {"TT": inside + possible, "FT": inside, "BT": possible}


def perfect(rosta: str, alpha: torch.Tensor, classes: torch.Tensor) -> Head:
    count = 3 if rosta == "TT" else 2
    logits = 40.0 * torch.nn.functional.one_hot(classes, count).permute(0, 3, 1, 2).float()
    return Head(logits, focus_target(alpha, classes, rosta)[0], alpha)


@pytest.mark.parametrize("heads", [("TT",), ("FT",), ("BT",), ("TT", "FT", "BT")])
def test_truth_costs_nothing_and_each_error_its_own_term(heads: tuple[str, ...]) -> None:
    alpha, classes = truth()
    contrast = torch.full(SIZE, 0.5)
    prediction = Prediction({rosta: perfect(rosta, alpha, classes[rosta]) for rosta in heads}, alpha)
    parts = gfm_loss(prediction, alpha, classes, contrast)
    assert list(parts.terms) == term_names(heads)
    assert len(parts.terms) == (6 if len(heads) == 1 else 21)
    assert parts.total.item() == pytest.approx(0.0, abs=1e-4)
    for rosta in heads:
        prefix = "" if len(heads) == 1 else f"{rosta.lower()}_"
        head = prediction.heads[rosta]
        errors = {
            "glance": head._replace(glance=-head.glance),
            "focus_alpha": head._replace(focus=1 - head.focus),
            "alpha": head._replace(alpha=1 - head.alpha),
        }
        also = {"focus_alpha": {"focus_laplacian"}, "alpha": {"laplacian", "composition"}}
        for name, bad in errors.items():
            terms = gfm_loss(Prediction({**prediction.heads, rosta: bad}, alpha), alpha, classes, contrast).terms
            raised = {key for key, value in terms.items() if value > 1e-3}
            assert raised == {prefix + key for key in {name} | also.get(name, set())}


def test_integration_is_rims_fourth_group() -> None:
    alpha, classes = truth()
    heads = {rosta: perfect(rosta, alpha, classes[rosta]) for rosta in ("TT", "FT", "BT")}
    terms = gfm_loss(Prediction(heads, 1 - alpha), alpha, classes, torch.full(SIZE, 0.5)).terms
    assert {key for key, value in terms.items() if value > 1e-3} == {"alpha", "laplacian", "composition"}
    # |1 - 2 alpha| is 1 outside the ramp; inside, 0.1 to 0.9 in steps of 0.8/7, it is 2 * (0.8 + 0.571 + 0.343 + 0.114) = 3.657.
    assert terms["alpha"].item() == pytest.approx((24 + 3.657) / 32, abs=1e-3)
    assert terms["composition"].item() == pytest.approx(0.5 * (24 + 3.657) / 32, abs=1e-3)


def test_total_is_the_sum_times_the_group_weight() -> None:
    alpha, classes = truth()
    head = Head(torch.zeros(1, 3, 32, 32), torch.zeros(SIZE), torch.zeros(SIZE))
    paper, authors = (
        gfm_loss(Prediction({"TT": head}, head.alpha), alpha, classes, torch.ones(SIZE), LossConfig(group_weight=weight))
        for weight in (1.0, 0.25)
    )
    assert paper.total.item() == pytest.approx(sum(value.item() for value in paper.terms.values()))
    assert authors.total.item() == pytest.approx(0.25 * paper.total.item())


def test_what_flickers_is_the_difference_of_two_frames() -> None:
    alpha, classes = (torch.cat([found] * 4) for found in (truth()[0], truth()[1]["TT"]))
    first = perfect("TT", *(value[:1] for value in (alpha, classes)))
    head = Head(*(torch.cat([part] * 4) for part in first))
    config = LossConfig(steady=2.0)

    def steady(fused: torch.Tensor, *, pairs: bool = True) -> float:
        terms = gfm_loss(Prediction({"TT": head}, fused), alpha, {"TT": classes}, torch.ones_like(alpha), config, pairs=pairs).terms
        assert list(terms) == term_names(("TT",), config)
        return terms["steady"].item()

    assert steady(alpha) == pytest.approx(0, abs=1e-5)
    assert steady(torch.cat([alpha[:2], 0.5 * alpha[:2]])) == pytest.approx(0, abs=1e-5)  # wrong, but both frames alike
    one = torch.cat([alpha[:3], alpha[:1] - 0.25])
    assert steady(one) == pytest.approx(2.0 * 0.25 / 2, abs=1e-4)
    assert steady(one, pairs=False) == pytest.approx(0, abs=1e-5)


def test_every_group_reaches_its_head() -> None:
    alpha, classes = truth()
    torch.manual_seed(0)
    leaves = {
        rosta: [torch.rand(1, c, 32, 32, requires_grad=True) for c in (n, 1, 1)] for rosta, n in (("TT", 3), ("FT", 2), ("BT", 2))
    }
    fused = torch.rand(SIZE, requires_grad=True)
    prediction = Prediction({rosta: Head(*tensors) for rosta, tensors in leaves.items()}, fused)
    gfm_loss(prediction, alpha, classes, torch.ones(SIZE)).total.backward()
    for tensor in [fused, *(tensor for tensors in leaves.values() for tensor in tensors)]:
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0
