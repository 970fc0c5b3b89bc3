"""Token ids in, padded batches under a token budget out.

Padding wastes work, and large batches take memory. So pairs are sorted by length, and each batch takes as many as fit
the budget, padding included. Memory then depends on the budget, not on the number or length of the documents.

Worked example, lengths [3, 10, 4, 9], budget 20: the pairs of 10 and 9 tokens make 2 x 10 = 20, exactly the budget;
those of 4 and 3 make 2 x 4 = 8. One batch of all four would be 4 x 10 = 40 tokens, 14 of them padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["GPU_TOKEN_BUDGET", "TOKEN_BUDGET", "Batch", "pad", "rounded", "share", "split"]

TOKEN_BUDGET = 512
"""Maximum padded tokens per batch on a CPU: about what its caches hold. `python benchmarks/latency.py --budgets` stores
what other budgets cost in `benchmarks/results/budgets.json`, per processor; a test fails if this one costs over a tenth
more than the best. On 2 cores of an AMD EPYC with VNNI, float32 takes as long with 128 to 768, and a third longer with
4,096 (2026-11-25)."""

GPU_TOKEN_BUDGET = 16_384
"""The same on a GPU, which small batches would leave idle. Not measured: it equals sentence-transformers' default batch
of 32 pairs with 512 tokens each, so a GPU with enough memory for that has enough for this."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Pairs of similar length, padded to one length: int64 arrays of shape (pairs, tokens).

    Attributes:
        ids: token ids.
        types: token type ids: the tokenizer's segment for each token.
        mask: attention mask, 1 for a token and 0 for padding.
        prefix: what `Engine.read_prefix` returned for the tokens that come before these in every pair; None if there
            are none.
    """

    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    mask: NDArray[np.int64]
    prefix: object | None = None


def split(lengths: Sequence[int], budget: int = TOKEN_BUDGET) -> Iterator[list[int]]:
    """Group pairs into batches: yields positions in `lengths`, longest pairs first.

    A batch of n pairs counts as n times its longest pair and stays within `budget`; a longer pair gets its own batch.
    The longest pairs come first, so memory peaks early and later batches reuse it.
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
    """The budget, at most `budget`, that spreads the work evenly over `streams` threads.

    Worked example, lengths [100] * 8, budget 500, two streams: a budget of 500 would make batches of 5 and 3 pairs.
    This returns 400, which makes two batches of 4.
    """
    if streams == 1:
        return budget
    tokens = sum(lengths)
    rounds = -(-tokens // (budget * streams))
    return min(budget, -(-tokens // (rounds * streams)))


def rounded(length: int, multiple: int, longest: int) -> int:
    """`length` rounded up to a multiple, but never past `longest`, the most tokens that the model reads."""
    return min(-(-length // multiple) * multiple, max(length, longest))


def pad(
    pairs: Sequence[NDArray[np.int32]],
    pad_id: int,
    length: int,
    side: Literal["left", "right"] = "right",
    prefix: object | None = None,
) -> Batch:
    """Pad `pairs` to `length` on that side. Each pair has shape (2, tokens): token ids, then token types."""
    import numpy as np  # here, so that a call can be queued without it

    shape = (len(pairs), length)
    batch = Batch(np.full(shape, pad_id, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.int64), prefix)
    for row, pair in enumerate(pairs):
        tokens = slice(pair.shape[1]) if side == "right" else slice(length - pair.shape[1], length)
        batch.ids[row, tokens], batch.types[row, tokens] = pair
        batch.mask[row, tokens] = 1
    return batch
