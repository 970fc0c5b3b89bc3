"""Token ids in, padded batches under a token budget out.

Padding wastes work, and large batches take memory. So pairs are sorted by length, and each batch stays within a budget,
padding included. Memory then depends on the budget, not on the number or length of the documents.

Worked example, lengths [3, 10, 4, 9], budget 20: the pairs of 10 and 9 tokens make 2 x 10 = 20, exactly the budget;
those of 4 and 3 make 2 x 4 = 8. One batch of all four would be 4 x 10 = 40 tokens, 14 of them padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapreplace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["GPU_TOKEN_BUDGET", "OVERHEAD", "TOKEN_BUDGET", "Batch", "pad", "rounded", "split"]

TOKEN_BUDGET = 512
"""Maximum padded tokens per batch on a CPU: about what its caches hold. `python benchmarks/latency.py --budgets` stores
what other budgets cost in `benchmarks/results/budgets.json`, per processor; a test fails if this one costs over a tenth
more than the best. On 2 cores of an AMD EPYC with VNNI, float32 takes as long with 128 to 768, and a third longer with
4,096 (2026-11-25)."""

GPU_TOKEN_BUDGET = 16_384
"""The same on a GPU, which small batches would leave idle. Not measured: it equals sentence-transformers' default batch
of 32 pairs with 512 tokens each, so a GPU with enough memory for that has enough for this."""

OVERHEAD = 0.06
"""What a batch costs beyond its padded tokens, as a share of the budget. `python benchmarks/profiling.py` printed 19
tokens for MiniLM in int8 with VNNI (2026-11-27), and 5 for `embedded` with AVX-VNNI (2026-11-28), each on 2 cores of an
AMD EPYC."""

_FEW = 32
"""Pairs per thread above which there are so many batches that it hardly matters how evenly the last ones are spread."""

_ENDS = 32
"""Ends that are tried for a batch, the last ones within the budget. On a CPU these are all, unless pairs are shorter
than 16 tokens. Trying all of a GPU's would take a quarter of a second for 5,000 short pairs."""


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


def split(lengths: Sequence[int], budget: int = TOKEN_BUDGET, streams: int = 1) -> list[list[int]]:
    """Group pairs into batches for `streams` threads: positions in `lengths`, each batch's longest pair first.

    A batch of n pairs counts as n times its longest pair and stays within `budget`; a longer pair gets its own batch.
    For few pairs, smaller budgets are tried too, and the one whose batches are finished first is taken. Expensive
    batches come first: memory peaks early, and the threads finish at about the same time.

    Worked example, lengths [60] * 20, budget 768, two streams: a budget of 768 would make batches of 12 and 8 pairs.
    Two batches of 10 are finished earlier.
    """
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    ordered = [lengths[position] for position in order]
    overhead = budget * OVERHEAD

    def cost(batch: range) -> float:
        return overhead + len(batch) * ordered[batch.start]

    def expensive_first(limit: int) -> list[range]:
        return sorted(_cheapest(ordered, limit, overhead), key=cost, reverse=True)

    def finished(batches: Sequence[range]) -> float:
        busy = [0.0] * streams
        for batch in batches:
            heapreplace(busy, busy[0] + cost(batch))
        return max(busy)

    batches = expensive_first(budget)
    if streams > 1 and len(lengths) <= _FEW * streams:
        most = min(budget, sum(lengths))
        batches = min((expensive_first(most * part // 16) for part in range(16, 3, -1)), key=finished)
    return [[order[place] for place in batch] for batch in batches]


def _cheapest(lengths: Sequence[int], limit: int, overhead: float) -> list[range]:
    """Divide `lengths`, longest first, into batches of at most `limit` tokens that cost least in total.

    Each costs its padded tokens plus `overhead`. The best division from a pair on follows from those of later pairs.
    """
    count = len(lengths)
    total, stops = [0.0] * (count + 1), [0] * count
    for start in reversed(range(count)):
        longest = lengths[start]
        most = min(start + max(1, limit // longest), count)
        ends = range(most, max(start, most - _ENDS), -1)
        stop = min(ends, key=lambda stop: (stop - start) * longest + total[stop])
        total[start], stops[start] = overhead + (stop - start) * longest + total[stop], stop
    batches: list[range] = []
    while (start := batches[-1].stop if batches else 0) < count:
        batches.append(range(start, stops[start]))
    return batches


def rounded(length: int, multiple: int, longest: int) -> int:
    """`length` rounded up to a multiple, but never past `longest`, the most tokens that the model reads."""
    return min(-(-length // multiple) * multiple, longest)


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
