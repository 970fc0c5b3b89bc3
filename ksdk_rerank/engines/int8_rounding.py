"""How a matrix product is rounded to int8: the scales of its input and its weights, and what moves between them.

Follows SmoothQuant (Xiao et al., ICML 2023, https://arxiv.org/abs/2211.10438): each input channel of a product is
divided by a factor, and the weights are multiplied by it, so that a few large channels do not use up the 8 bits. But:
the exponent of the factor is chosen per product, by the error of the product's output.

Activations have 8 bits, in a fixed range or in one per token. Weights have one scale per output channel. x86 without
VNNI adds two products of neighbouring inputs in 16 bits (`vpmaddubsw`), so two neighbouring weights together stay
within 128: 255 * 128 < 2 ** 15. That is up to one bit more than the 7 bits per weight that onnxruntime's `reduce_range`
gives, and as safe.

Worked example, weights [3, 1] of two neighbouring inputs and one output: the scale is (3 + 1) / 127, the weights become
[95, 32], and the largest sum is 255 * (95 + 32) = 32,385. In 7 bits they would be [64, 21].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Ranges", "Rounding", "best_rounding", "rounded_rows", "rounded_weights"]

Array = NDArray[np.float32]

_EXPONENTS = (0.5, 0.65, 0.8)
"""How much of the range moves into the weights. Which is best depends on the product."""
_MARGIN = 1.2
"""How much larger a fixed range is than what calibration found. On other texts layer norms exceeded it by up to 1.4,
but rarely by more than 1.2 (ms-marco-MiniLM-L-12-v2)."""


@dataclass(slots=True)
class Ranges:
    """The input of a product: lowest and highest value of each channel, and some tokens as samples."""

    low: Array
    high: Array
    samples: Array


@dataclass(slots=True)
class Rounding:
    """How to quantize an input that has been divided by `factor`: either to a fixed range or to a range per token.

    A token's range is `low` to `high` times its own scale.
    """

    factor: Array
    low: float
    high: float
    per_token: bool
    error: float = 0.0

    @property
    def scale(self) -> np.float32:
        return np.float32(max(self.high - self.low, 1e-12) / 255)

    @property
    def zero_point(self) -> np.uint8:
        return np.uint8(round(-self.low / float(self.scale)))

    def rounded(self, tokens: Array) -> Array:
        """What int8 leaves of `tokens`, which have been divided by `factor`."""
        size = np.float32(1)
        if self.per_token:
            size = np.maximum(tokens.max(1, keepdims=True), tokens.min(1, keepdims=True) / self.low).clip(min=1e-9)
        steps = np.rint(tokens / (size * self.scale)) + np.float32(self.zero_point)
        result: Array = (steps.clip(0, 255) - np.float32(self.zero_point)) * (size * self.scale)
        return result


def best_rounding(ranges: Ranges, weights: Sequence[Array], *, per_token: bool) -> Rounding:
    """The best plan for one input and its products, by the error of their outputs on the samples."""
    largest = np.maximum(np.abs(ranges.low), np.abs(ranges.high)).clip(min=1e-3)
    heaviest = np.max([np.abs(each).max(1) for each in weights], axis=0).clip(min=1e-4)
    exact = [ranges.samples @ each for each in weights]
    plans = []
    for exponent in _EXPONENTS:
        factor = largest**exponent / heaviest ** (1 - exponent)
        factor = (factor / np.exp(np.log(factor).mean())).astype(np.float32)
        tokens = ranges.samples / factor
        if per_token:
            ratios = -tokens.min(1) / tokens.max(1).clip(min=1e-9)
            plan = Rounding(factor, -float(np.quantile(ratios, 0.75).clip(0.1, 10)), 1.0, per_token)
        else:
            low, high = float((ranges.low / factor).min()), float((ranges.high / factor).max())
            plan = Rounding(factor, min(low, 0.0) * _MARGIN, max(high, 0.0) * _MARGIN, per_token)
        rounded = plan.rounded(tokens)
        for each, expected in zip(weights, exact, strict=True):
            values, scales = rounded_weights(each * factor[:, None])
            error = rounded @ (values * scales) - expected
            plan.error = max(plan.error, float(np.sqrt((error**2).mean() / expected.var(0).mean().clip(min=1e-12))))
        plans.append(plan)
    return min(plans, key=lambda plan: plan.error)


def rounded_weights(weights: Array) -> tuple[NDArray[np.int8], Array]:
    """Round weights (inputs, outputs): the steps, and the scale of each output."""
    sizes = np.abs(weights)
    if len(sizes) % 2:
        sizes = np.concatenate([sizes, np.zeros_like(sizes[:1])])
    scales = ((sizes[0::2] + sizes[1::2]).max(0) / 127).clip(min=1e-12).astype(np.float32)
    return np.rint(weights / scales).astype(np.int8), scales


def rounded_rows(table: Array) -> tuple[NDArray[np.int8], Array]:
    """Round each row of a table: the steps, and the scale of each row, (rows, 1)."""
    values, scales = np.empty(table.shape, np.int8), np.empty((len(table), 1), np.float32)
    for start in range(0, len(table), 4096):  # a large table would not fit into memory twice
        rows = slice(start, start + 4096)
        scales[rows] = (np.abs(table[rows]).max(1, keepdims=True) / 127).clip(min=1e-12)
        values[rows] = np.rint(table[rows] / scales[rows])
    return values, scales
