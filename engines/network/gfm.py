"""GFM, the Glance and Focus Matting network (Li, Zhang, Maybank, Tao; IJCV 2022).

One encoder is shared by two decoders. The glance decoder, which begins with pyramid pooling, classifies every pixel by the
classes of the RoSTa; the focus decoder, which begins with a bridge block of dilated convolutions, predicts the details that the
classes leave open.
Collaborative matting (`fuse`) joins them.

RoSTa, the Representation of Semantic and Transition Area, is one of

- TT: background, transition, foreground; the focus is alpha within the transition;
- FT: everything else, (eroded) foreground; the focus is the difference from the class up to alpha;
- BT: background, (dilated) everything else; the focus is the difference from the class down to alpha;
- RIM: all three from one trunk, integrated by a small network.

There is one network class. Each network is one entry in `NETWORKS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from streammat.engines.network.backbones import BACKBONES
from streammat.engines.network.decoders import LiteDecoder, LitePlan, PaperDecoder, PaperPlan, Parts
from streammat.engines.network.rostas import CLASSES, ROSTAS


class GFMOutput(NamedTuple):
    """Outputs of the network for an image, at the image's size."""

    glance: Tensor
    """float32 (N, C, H, W), 0..1: confidence in each class; the largest one is the class."""
    focus: Tensor
    """float32 (N, 1, H, W), 0..1."""
    alpha: Tensor
    """float32 (N, 1, H, W), 0..1: the fused matte."""


class Head(NamedTuple):
    """Outputs of one RoSTa for training, at the network's output stride."""

    glance: Tensor
    """float32 (N, C, h, w), logits."""
    focus: Tensor
    """float32 (N, 1, h, w), 0..1."""
    alpha: Tensor
    """float32 (N, 1, h, w), 0..1: glance and focus fused."""


class Prediction(NamedTuple):
    """Outputs for the losses: every head, and the combined matte."""

    heads: dict[str, Head]
    """Heads by RoSTa: one, or all three for RIM."""
    alpha: Tensor
    """float32 (N, 1, h, w): the head's own alpha; for RIM the integration's, which may be outside 0..1."""


@dataclass(frozen=True)
class Ablation:
    """Parts of the network to remove, as in Table 4 of the paper."""

    single_decoder: bool = False
    """Use one decoder with both outputs, and with the inputs of the two."""
    ppm: Literal["all", "one", "none"] = "all"
    """Pyramid pooling for all levels of the glance decoder, for its coarsest only, or none."""
    bridge: bool = True
    """Use the bridge block before the focus decoder."""


@dataclass(frozen=True)
class Network:
    """One network: an encoder and the shape of its two decoders."""

    backbone: str
    """Key of `BACKBONES`."""
    glance: LitePlan | PaperPlan
    focus: LitePlan | PaperPlan
    soft: bool = False
    """Fuse by the expectation over the classes instead of the most likely class."""


_PAPER = PaperPlan(levels=((512, 512, 256), (256, 256, 128), (128, 128, 64), (64, 64, 64)))
_R101 = PaperPlan(levels=((2048, 1024, 1024), (1024, 512, 512), (512, 256, 256), (256, 128, 64)))
_R34_2B = PaperPlan(levels=((512, 512, 512), (512, 512, 512), *_PAPER.levels), head=(), full=True)

NETWORKS: dict[str, Network] = {
    # The glance needs no detail: it ends at stride 4 and only its logits are brought to stride 2.
    "lite": Network(
        backbone="mobilenetv2",
        glance=LitePlan(widths=(128, 96, 64, 32), convs=(1, 1, 1, 1)),
        focus=LitePlan(widths=(128, 96, 64, 48, 16), convs=(2, 1, 1, 1, 2)),
        soft=True,
    ),
    "r34": Network("resnet34", _PAPER, _PAPER),
    "d121": Network("densenet121", _PAPER, _PAPER),
    "r34_2b": Network("resnet34_2b", _R34_2B, _R34_2B),
    "r101": Network("resnet101", _R101, _R101),
}


class Integration(nn.Sequential):
    """RIM's last step: 1x1 convolution to 16 channels, squeeze-and-excitation, 1x1 convolution; (N, 3, h, w) to (N, 1, h, w)."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(len(CLASSES), 16, 1), SqueezeExcitation(16, 4), nn.Conv2d(16, 1, 1))


class SqueezeExcitation(nn.Module):
    """Weights channels by their means (Hu et al. 2018); float (N, C, h, w), output shape as input."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction, bias=False)
        self.excite = nn.Linear(channels // reduction, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scale each channel by 0..1."""
        weight = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean(dim=(2, 3))))))
        return x * weight[:, :, None, None]


class GFM(nn.Module):
    """The GFM network.

    Args:
        network: key of `NETWORKS`.
        rosta: one of `ROSTAS`.
        ablation: parts to leave out.
        memory: the network also takes the matte of the frame before.

    Raises:
        ValueError: no such network or RoSTa, or an ablation or a memory that the network does not know.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: str = "lite", rosta: str = "TT", ablation: Ablation | None = None, *, memory: bool = False) -> None:
        super().__init__()
        if network not in NETWORKS:
            raise ValueError(f"no network named {network!r}; expected one of {', '.join(NETWORKS)}")
        if rosta not in ROSTAS:
            raise ValueError(f"no RoSTa named {rosta!r}; expected one of {', '.join(ROSTAS)}")
        self.network, self.rosta, self.ablation = network, rosta, ablation or Ablation()
        self.heads: tuple[str, ...] = tuple(CLASSES) if rosta == "RIM" else (rosta,)
        """RoSTas that the network predicts."""
        self.checkpointing = False
        """Recompute activations of encoder and decoders in training: less memory, more time. Batch-norm statistics then
        see each batch twice, which only makes them follow faster."""
        spec = NETWORKS[network]
        backbone = BACKBONES[spec.backbone]
        self.soft = spec.soft
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(1, 3, 1, 1), persistent=False)
        self.encoder = backbone.build()
        self.glance, self.focus = self._decoders(spec, backbone.channels)
        self.rim = Integration() if rosta == "RIM" else None
        ends = len(spec.focus.widths) if isinstance(spec.focus, LitePlan) else len(backbone.strides) + 1
        self.stride = (1, *backbone.strides)[len(backbone.strides) + 1 - ends]
        """Input pixels per output pixel, in each direction."""
        self.memory = self._memory(backbone.hint) if memory else None
        """Turns the previous frame's matte into a hint for the encoder."""

    def _memory(self, channels: int | None) -> nn.Conv2d:
        """Make what turns a matte into the hint. It says nothing at first, so that a network that was trained without it can go
        on with it.
        """
        if channels is None or self.stride != 2:
            raise ValueError(f"network {self.network!r} cannot take the matte of the frame before")
        memory = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        nn.init.zeros_(memory.weight)
        return memory

    def _decoders(self, spec: Network, channels: tuple[int, ...]) -> tuple[nn.Module, nn.Module | None]:
        lite, cut = isinstance(spec.glance, LitePlan), self.ablation
        if lite and cut.ppm == "one":
            raise ValueError(f"network {self.network!r} pools for its coarsest level alone already; ppm is 'all' or 'none'")
        pooled = {"pooling": cut.ppm != "none", "side": cut.ppm == "all" and not lite}
        focused = {"bridge": cut.bridge, "skip": True}

        def build(plan: LitePlan | PaperPlan, parts: Parts, heads: dict[str, int]) -> nn.Module:
            if isinstance(plan, PaperPlan):
                return PaperDecoder(plan, channels, parts, heads)
            assert isinstance(spec.focus, LitePlan)
            return LiteDecoder(plan, channels, parts, heads, len(spec.focus.widths))

        classes = {name: CLASSES[name] for name in self.heads}
        if cut.single_decoder:
            return build(spec.focus, Parts(**pooled, **focused), {name: count + 1 for name, count in classes.items()}), None
        return build(spec.glance, Parts(**pooled), classes), build(spec.focus, Parts(**focused), dict.fromkeys(classes, 1))

    def forward(self, image: Tensor) -> GFMOutput:
        """Matte a batch.

        Args:
            image: float32 (N, 3, H, W), RGB, 0..255; H and W are multiples of 32.

        Returns:
            Glance, focus and alpha at H x W; for RIM glance and focus are those of TT.

        Raises:
            ValueError: the shape does not fit.
        """
        prediction = self.predict(image)
        head = prediction.heads[self.heads[0]]
        # Activation before upsampling: both stay in 0..1, and what is not upsampled is not touched.
        maps = (self.probability(head.glance), head.focus, prediction.alpha.clamp(0.0, 1.0))
        if self.stride > 1:
            maps = tuple(F.interpolate(m, size=image.shape[-2:], mode="bilinear", align_corners=False) for m in maps)  # type: ignore[assignment]
        return GFMOutput(*maps)

    def predict(self, image: Tensor, previous: Tensor | None = None) -> Prediction:
        """Return the outputs for the losses.

        Args:
            image: as of `forward`.
            previous: float32 (N, 1, h, w), 0..1: alpha of the frame before at the network's own resolution, for a network with a
                memory. Zeros, or None: not known.

        Raises:
            ValueError: as `forward` raises it.
        """
        if image.ndim != 4 or image.shape[1] != 3 or image.shape[2] % 32 or image.shape[3] % 32:
            raise ValueError(f"image has shape {tuple(image.shape)}; expected (N, 3, H, W), H and W multiples of 32")
        scaled = (image - self.mean) / self.std
        if self.memory is None or previous is None:
            return self.decode(self._run(self.encoder, scaled))
        return self.decode(self._run(self.encoder, scaled, self.memory(previous)))

    def decode(self, features: list[Tensor]) -> Prediction:
        """Run both decoders and the fusion; ``features`` are the encoder's maps, finest first."""
        glances = self._run(self.glance, features)
        if self.focus is None:
            focuses = {name: logits[:, -1:] for name, logits in glances.items()}
            glances = {name: logits[:, :-1] for name, logits in glances.items()}
        else:
            focuses = self._run(self.focus, features)
        heads: dict[str, Head] = {}
        for name in self.heads:
            glance, focus = glances[name].float(), torch.sigmoid(focuses[name].float())
            heads[name] = Head(glance, focus, fuse(self.probability(glance), focus, name, soft=self.soft))
        alphas = [head.alpha for head in heads.values()]
        return Prediction(heads, alphas[0] if self.rim is None else self.integrate(torch.cat(alphas, dim=1)))

    def probability(self, glance: Tensor) -> Tensor:
        """Map logits (N, C, h, w) to 0..1: by sigmoid as in the published networks, or by softmax if the fusion is an expectation."""
        return class_softmax(glance) if self.soft else torch.sigmoid(glance)

    def integrate(self, alphas: Tensor) -> Tensor:
        """Integrate RIM's alphas of TT, FT and BT, float (N, 3, h, w), to one, float (N, 1, h, w)."""
        assert self.rim is not None
        alpha: Tensor = self.rim(alphas)
        return alpha

    def _run(self, module: Callable[..., Any], *arguments: Any) -> Any:
        if self.checkpointing and self.training:
            return checkpoint(module, *arguments, use_reentrant=False)
        return module(*arguments)


def class_softmax(logits: Tensor) -> Tensor:
    """Return the softmax over the classes of float (N, C, h, w), in single operations: ONNX Runtime's own softmax rearranges the whole map first."""
    powers = torch.exp(logits - logits.amax(dim=1, keepdim=True))
    return powers / powers.sum(dim=1, keepdim=True)


def fuse(glance: Tensor, focus: Tensor, rosta: str, *, soft: bool = False) -> Tensor:
    """Fuse glance and focus: collaborative matting (the paper's Eq. 1 and its FT and BT counterparts).

    With g the class, TT: alpha = focus in the transition, else g; FT: alpha = min(g + focus, 1); BT: alpha = max(g - focus, 0).
    For g in {0, 1} and focus in 0..1 each of these is a weighted sum over the classes' alphas, with weight 1 for the predicted
    class and 0 for the others; ``soft`` takes the probabilities as weights instead, which is differentiable and has no steps.

    Args:
        glance: float (N, C, h, w), 0..1, by class; for ``soft`` it sums to 1 over the classes.
        focus: float (N, 1, h, w), 0..1.
        rosta: ``TT``, ``FT`` or ``BT``.
        soft: take ``glance`` itself as weights.

    Returns:
        float (N, 1, h, w), 0..1.
    """
    if soft:
        weights = glance
    else:
        winner = glance.argmax(dim=1, keepdim=True)
        weights = torch.cat([(winner == index).to(focus.dtype) for index in range(glance.shape[1])], dim=1)
    first, last = weights[:, :1], weights[:, -1:]
    if rosta == "TT":
        return last + weights[:, 1:2] * focus
    if rosta == "FT":
        return last + first * focus
    return last * (1.0 - focus)
