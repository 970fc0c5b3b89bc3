"""Token ids in, padded batches under a token budget out.

Padding is work thrown away and long batches are what memory is spent on. So pairs are sorted by length and a batch
takes as many as fit the budget, counted with their padding: memory depends on the budget, not on how many documents
there are or how long they are.

Worked example, lengths [3, 10, 4, 9], budget 20: the pairs of 10 and 9 tokens make 2 x 10 = 20, the budget; those of
4 and 3 make 2 x 4 = 8. One batch of all four would be 4 x 10 = 40 tokens, 14 of them padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["GPU_TOKEN_BUDGET", "TOKEN_BUDGET", "Batch", "pad", "rounded", "share", "split"]

TOKEN_BUDGET = 512
"""Tokens a batch, padding included, on a processor: about what its caches hold. Chosen with `python
benchmarks/latency.py --budgets` on 2 cores of an AMD EPYC (2026-11-23): from 256 to 1,024 engines differ by a tenth or
so, onnx for less and openvino for more; 4,096 takes onnx half as long again."""

GPU_TOKEN_BUDGET = 16_384
"""The same on a GPU, which small batches leave idle. Not measured: it is what sentence-transformers gives one by
default, 32 pairs, where each has 512 tokens, so a GPU with memory enough for that has enough for this."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Pairs of similar length, padded to the longest: arrays of int64 with a row for each pair.

    Attributes:
        ids: token ids.
        types: which segment a token belongs to, as the tokenizer counts them.
        mask: 1 for a token, 0 for padding.
    """

    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    mask: NDArray[np.int64]


def split(lengths: Sequence[int], budget: int = TOKEN_BUDGET) -> Iterator[list[int]]:
    """Positions in `lengths`, batch by batch, longest first.

    A batch of n pairs holds at most `budget` tokens, n times its longest; a pair longer than that is alone in its.
    The first batch is the largest, so memory is at its peak at once and what it took can be used again.
    """
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda position: -lengths[position]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


def share(lengths: Sequence[int], budget: int, streams: int) -> int:
    """A budget, at most `budget`, whose batches keep `streams` threads busy for about as long.

    Worked example, lengths [100] * 8, budget 500, two streams: batches of 500 would be 5 and 3 pairs, of 400 4 and 4.
    """
    if streams == 1:
        return budget
    tokens = sum(lengths)
    rounds = -(-tokens // (budget * streams))
    return min(budget, -(-tokens // (rounds * streams)))


def rounded(length: int, multiple: int, longest: int) -> int:
    """The next multiple, or `longest` where that comes before it: more than a model reads is never padded to."""
    return min(-(-length // multiple) * multiple, max(length, longest))


def pad(pairs: Sequence[NDArray[np.int32]], pad_id: int, length: int) -> Batch:
    """A batch of `pairs`, arrays of shape (2, tokens) that hold ids and types, padded on the right to `length`."""
    shape = (len(pairs), length)
    batch = Batch(np.full(shape, pad_id, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.int64))
    for row, pair in enumerate(pairs):
        tokens = pair.shape[1]
        batch.ids[row, :tokens], batch.types[row, :tokens] = pair
        batch.mask[row, :tokens] = 1
    return batch
