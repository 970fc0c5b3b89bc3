"""Reduces the loss from int8: evens out the inputs of linear layers, and rounds weights during training.

onnxruntime has one scale for all inputs of a layer. A few neurons reach 25 where most stay below 2, which leaves the
others few of the 8 bits. Follows SmoothQuant (Xiao et al., ICML 2023, https://arxiv.org/abs/2211.10438), which moves
part of that range into the weights, since these have a scale per output. But: the factor is a multiplication of its
own. It cannot be folded into the layer norm before it, whose states also go into the residual connection.

Training calculates with rounded weights, and its steps update unrounded copies (a straight-through estimator, Bengio et
al., https://arxiv.org/abs/1308.3432). So what is shipped is what was trained.
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
"""Layers that stay floats: two with a single output, and `transform` of `Splade`, with the largest relative error."""
STEPS = 64
"""Steps on each side of zero. On x86 without VNNI the sum of two 8-bit products can overflow
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, 2026-11-23). So weights have 7 bits, and
one file works on all processors."""

MOVED = 0.85
"""How much of the range moves into the weights, as an exponent. From .5 to 1, this loses least on held-out pairs."""


class Smoothed(nn.Module):
    """Computes the same as `linear`, with evened-out inputs; `greatest` is the maximum magnitude of each input."""

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
    """Return a copy that scores the same, smoothed by the input ranges of its layers on `pairs`."""
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
    """Return the weights (outputs, inputs) that become int8."""
    layers = (layer for name, layer in model.named_modules() if name.rpartition(".")[2] not in FLOATS)
    return [layer.weight for layer in layers if isinstance(layer, nn.Linear)]


def rounded(weight: Tensor) -> Tensor:
    """Round `weight` (outputs, inputs) to what int8 can represent, with one scale per output."""
    scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / STEPS
    return (weight / scale).round() * scale


def round_matrices(model: nn.Module) -> None:
    """Round all `matrices` in place."""
    with torch.no_grad():
        for weight in matrices(model):
            weight.copy_(rounded(weight))
