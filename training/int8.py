"""Makes int8 lose less: what a linear layer multiplies is brought to one range first.

onnxruntime has one scale for all that goes into a layer, so the few neurons that say 25 where most say less than 2
leave little of the 8 bits to the others. Follows SmoothQuant (Xiao et al., ICML 2023,
https://arxiv.org/abs/2211.10438), in which a part of their range moves into the weights, which have a scale for each
output. But: the factor is a product of its own, as the layer norms before it, whose states are also added to what comes
out, cannot take it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.network import CrossEncoder

__all__ = ["smooth"]

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


def smooth(model: CrossEncoder, texts: Sequence[Sequence[int]]) -> CrossEncoder:
    """A copy that scores the same, with the ranges that the encoder's layers have on `texts` (ids of passages)."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    layers = [
        *((attention, "inputs") for attention in model.encoder.attention),
        *((feed_forward, "up") for feed_forward in model.encoder.feed_forward),
        *((feed_forward, "down") for feed_forward in model.encoder.feed_forward),
    ]
    greatest: dict[nn.Module, Tensor] = {}

    def listen(linear: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        said = inputs[0].abs().flatten(0, 1).amax(0)
        greatest[linear] = torch.maximum(greatest.get(linear, said), said)

    hooks = [getattr(part, name).register_forward_pre_hook(listen) for part, name in layers]
    with torch.inference_mode():
        for text in texts:
            model.encoder.document(torch.tensor([text]), torch.ones(1, len(text)))
    for hook in hooks:
        hook.remove()
    for part, name in layers:
        linear = getattr(part, name)
        setattr(part, name, Smoothed(linear, greatest[linear].clone()))
    return model
