"""The parts of BERT that both networks share, written to export to ONNX and to train fast."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["NEVER", "POSITIONS", "Attention", "FeedForward", "Rounded", "States", "attend_to"]

POSITIONS = 512
NEVER = -1e4


class States(NamedTuple):
    """Token states of one side of a batch, (n, tokens, hidden), and their mask, (n, tokens): 1 is real, 0 padding."""

    values: Tensor
    mask: Tensor

    def expand(self, n: int) -> States:
        """Repeat the states of one text `n` times; states of `n` texts stay as they are."""
        return States(self.values.expand(n, -1, -1), self.mask.expand(n, -1))


class Rounded(nn.Module):
    """Embeddings in 4 bits: each group of 32 numbers in a row has 16 steps of one size, which itself has 8 bits.

    Embeddings are half of the model's size. They are not trained, so the layers after them can adapt to the rounding.
    """

    GROUP = 32

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.register_buffer("packed", torch.zeros(rows, width // 2, dtype=torch.uint8))
        self.register_buffer("sizes", torch.zeros(rows, width // self.GROUP, dtype=torch.uint8))
        self.register_buffer("unit", torch.tensor(1.0))

    @classmethod
    def of(cls, weight: Tensor) -> Rounded:
        """Round `weight` (rows, width). Each group gets the step size, out of a few, with the smallest error."""
        rounded = cls(*weight.shape)
        groups = weight.unflatten(1, (-1, cls.GROUP))
        greatest = groups.abs().amax(-1) / 7.5
        rounded.unit = greatest.max() / 255
        least = torch.full_like(greatest, torch.inf)
        found = torch.zeros_like(groups)
        for share in (1.0, 0.95, 0.9, 0.85, 0.8):
            sizes = (greatest * share / rounded.unit).round().clamp(min=1)
            steps = (groups / (sizes * rounded.unit)[..., None] + 7.5).round().clamp(0, 15)
            error = ((steps - 7.5) * (sizes * rounded.unit)[..., None] - groups).square().sum(-1)
            better = error < least
            least = torch.where(better, error, least)
            found = torch.where(better[..., None], steps, found)
            rounded.sizes = torch.where(better, sizes.to(torch.uint8), rounded.sizes)
        high, low = found.flatten(1).to(torch.uint8).chunk(2, 1)
        rounded.packed = high * 16 + low
        return rounded

    def forward(self, ids: Tensor) -> Tensor:
        """Return the embeddings (..., width) of `ids` (...)."""
        packed = self.packed[ids].float()
        high = (packed / 16).floor()
        steps = torch.cat([high, packed - 16 * high], -1) - 7.5
        sizes = self.sizes[ids].float() * self.unit.float()
        return (steps.unflatten(-1, (-1, self.GROUP)) * sizes[..., None]).flatten(-2).to(self.unit.dtype)


class Attention(nn.Module):
    """BERT's multi-head attention, with plain matrix products."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(hidden, 3 * hidden)  # queries, keys and values
        self.output = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden, eps=1e-12)

    def forward(self, x: Tensor, bias: Tensor, take: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
        """Return the next states of the tokens of `x` (n, tokens, hidden) that `take` selects.

        They attend to all tokens. `bias` (n, 1, 1, tokens) is added to the attention logits.
        """
        width = x.shape[-1] // self.heads
        q, k, v = self.inputs(x).split(x.shape[-1], -1)
        x, q = take(x), take(q)
        q, k, v = (one.unflatten(-1, (self.heads, width)).transpose(1, 2) for one in (q, k, v))
        weights = (q @ k.transpose(2, 3) * (1 / math.sqrt(width)) + bias).softmax(-1)
        return self.norm(x + self.output((weights @ v).transpose(1, 2).flatten(2)))


class FeedForward(nn.Module):
    """BERT's feed-forward block, with its residual connection and norm."""

    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.up = nn.Linear(hidden, inner)
        self.down = nn.Linear(inner, hidden)
        self.norm = nn.LayerNorm(hidden, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.down(nn.functional.gelu(self.up(x))))


def attend_to(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the `Attention` bias that limits attention to tokens with 1 in `mask` (n, tokens)."""
    return (1 - mask.to(dtype))[:, None, None, :] * NEVER
