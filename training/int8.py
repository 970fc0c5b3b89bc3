"""Makes int8 lose less: what a linear layer multiplies is brought to one range, and weights are rounded in training.

onnxruntime has one scale for all that goes into a layer, so the few neurons that say 25 where most say less than 2
leave little of the 8 bits to the others. Follows SmoothQuant (Xiao et al., ICML 2023,
https://arxiv.org/abs/2211.10438), in which a part of their range moves into the weights, which have a scale for each
output. But: the factor is a product of its own, as the layer norms before it, whose states are also added to what comes
out, cannot take it.

Rounded weights are what training calculates with; its steps go to whole ones that are kept aside (a straight-through
estimator, Bengio et al., https://arxiv.org/abs/1308.3432), so what is shipped is what was trained.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.network import CrossEncoder
from training.states import Pair, join

__all__ = ["FLOATS", "matrices", "round_matrices", "rounded", "smooth"]

FLOATS = ("importance", "score", "transform")
"""Layers that stay floats: two of one output each, and the last of `Splade`, whose weights err most for their size."""
STEPS = 64
"""On each side of zero. On x86 without VNNI two products of 8 bits overflow when they are added
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, 2026-11-23), so weights keep to 7 bits:
the one file is for all processors."""

MOVED = 0.85
"""How much of the range moves, as an exponent; of .5 to 1 this loses least on held-out pairs."""


class Smoothed(nn.Module):
    """What `linear` calculates; `greatest` is how much each of its inputs says at most."""

    def __init__(self, linear: nn.Linear, greatest: Tensor) -> None:
        super().__init__()
        weights = linear.weight.abs().amax(0).clamp(min=1e-4)
        moved = greatest.clamp(min=1e-3) ** MOVED / weights ** (1 - MOVED)
        moved = moved / moved.log().mean().exp()
        self.register_buffer("factor", 1 / moved)
        self.linear = copy.deepcopy(linear)
        self.linear.weight.mul_(moved)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear(x * self.factor)
        return result


def smooth(model: CrossEncoder, pairs: Sequence[Pair]) -> CrossEncoder:
    """A copy that scores the same, with the ranges that its layers have on `pairs`."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    layers = [
        *((attention, "inputs") for attention in model.encoder.attention),
        *((feed_forward, "up") for feed_forward in model.encoder.feed_forward),
        *((feed_forward, "down") for feed_forward in model.encoder.feed_forward),
        (model.comparison, "compare"),
        (model.splade, "expand"),
    ]
    greatest: dict[nn.Module, Tensor] = {}

    def listen(linear: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        said = inputs[0].abs().flatten(0, 1).amax(0)
        greatest[linear] = torch.maximum(greatest.get(linear, said), said)

    hooks = [getattr(part, name).register_forward_pre_hook(listen) for part, name in layers]
    with torch.inference_mode():
        for query, passage in pairs:
            model(*map(torch.from_numpy, join(query, passage)))
    for hook in hooks:
        hook.remove()
    for part, name in layers:
        linear = getattr(part, name)
        setattr(part, name, Smoothed(linear, greatest[linear].clone()))
    return model


def matrices(model: nn.Module) -> list[nn.Parameter]:
    """The weights (outputs, inputs) that become int8."""
    layers = (layer for name, layer in model.named_modules() if name.rpartition(".")[2] not in FLOATS)
    return [layer.weight for layer in layers if isinstance(layer, nn.Linear)]


def rounded(weight: Tensor) -> Tensor:
    """The nearest to `weight` (outputs, inputs) that int8 can say, with a scale for each output."""
    scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / STEPS
    return (weight / scale).round() * scale


def round_matrices(model: nn.Module) -> None:
    """Round all `matrices` in their places."""
    with torch.no_grad():
        for weight in matrices(model):
            weight.copy_(rounded(weight))
