"""`Fusion`: merges the orders of several rerankers into one.

Follows Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual rank learning
methods" (SIGIR 2009, https://doi.org/10.1145/1571941.1572114). The paper found k = 60 in a pilot and then fixed it.
But: members may have weights.

Worked example, k = 60, two members over documents 0, 1 and 2:

    the first ranks them 1, 0, 2 and the second 1, 2, 0
    raw_score of 1 = 1/61 + 1/61 = 0.032787, of 0 = 1/62 + 1/63 = 0.032002, of 2 = 1/63 + 1/62, the same
    score = raw_score / (1/61 + 1/61): 1.0, 0.976062, 0.976062; the order is 1, 0, 2
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ksdk_rerank._arguments import number, ordered
from ksdk_rerank.base import Reranker
from ksdk_rerank.compose._wrapper import Wrapper, loaded_members
from ksdk_rerank.concurrency.tasks import all_of
from ksdk_rerank.results import Ranked, Ranking, total_usage

__all__ = ["Fusion"]


class Fusion(Wrapper):
    """Merges several rerankers by reciprocal rank fusion: documents that most of them rank high come first.

        Fusion(["lexical", "cross-encoder/ms-marco-MiniLM-L-6-v2", InputOrder()])

    Only ranks count, so members may use any score scale, or have no scores at all. Add `InputOrder()` as a member to
    let the first stage's order count.

    Args:
        rerankers: the members, or their names; at least one.
        k: 0 or more; the higher it is, the less the top ranks stand out. 60 is the paper's value. From 0 to 1000 the
            MRR@10 of "lexical" with `InputOrder()` varies by 0.001 on SciFact's train questions and 0.009 on SQuAD's
            dev questions (`benchmarks/compose.py`, 2026-11-23), so nothing here favours another value.
        weights: each member's weight, above 0; None weights all equally.

    `raw_score` is the sum of weight / (k + rank) over the members, with ranks from 1. `score` is that sum divided by
    the highest possible one, which is rank 1 everywhere. It measures how far the members agree that a document is good
    *among these candidates*. It is not a probability of relevance: even the best of a poor set scores near 1. For a
    meaningful `min_score`, put a reranker after the fusion: `Cascade(Fusion(...), second)`.

    A document that a member leaves out as a duplicate gets nothing from that member; one that all members leave out is
    left out. A document's `spans` are those of the first member that found some.

    Asynchronous calls run all members concurrently, synchronous calls one after another. The first error of any member
    is raised, and cancels the calls to the others. To carry on without a member, wrap it in a `Fallback`.

    `usage` is the sum over the members. `truncated` is the largest of their counts, because all of them truncate the
    same long documents. `failures` combines all members'; `query_truncated` is set if any of them truncated the query.
    """

    def __init__(
        self,
        rerankers: Sequence[str | Reranker],
        *,
        k: float = 60,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.rerankers = loaded_members(rerankers)
        self.k = number("k", k)
        if not (math.isfinite(self.k) and self.k >= 0):
            raise ValueError(f"k must be a finite number of at least 0, got {k!r}")
        self.weights: tuple[float, ...] | None = None
        if weights is None:
            return
        self.weights = tuple(number("weights", weight) for weight in ordered("weights", weights))
        if len(self.weights) != len(self.rerankers):
            raise ValueError(f"got {len(self.weights)} weights for {len(self.rerankers)} rerankers; pass one for each")
        if not all(math.isfinite(weight) and weight > 0 for weight in self.weights):
            raise ValueError(f"weights must be finite and above 0, got {weights!r}; leave unwanted rerankers out")

    @property
    def name(self) -> str:
        return f"fusion({', '.join(member.name for member in self.rerankers)})"

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        return self._fused(documents, [member.rank(query, documents) for member in self.rerankers])

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        return self._fused(documents, await all_of(member.arank(query, documents) for member in self.rerankers))

    def _fused(self, documents: Sequence[str], rankings: Sequence[Ranking]) -> Ranking:
        weights = self.weights or (1.0,) * len(rankings)
        parts: dict[int, list[float]] = {}
        for weight, ranking in zip(weights, rankings, strict=True):
            for rank, ranked in enumerate(ranking, start=1):
                parts.setdefault(ranked.index, []).append(weight / (self.k + rank))
        # fsum rounds once, so that the order of the members cannot break a tie
        raw = {index: math.fsum(parts[index]) for index in sorted(parts)}
        spans = {one.index: one.spans for ranking in reversed(rankings) for one in ranking if one.spans}
        highest = math.fsum(weight / (self.k + 1) for weight in weights)
        return Ranking(
            tuple(
                Ranked(index, documents[index], min(1.0, raw[index] / highest), raw[index], spans.get(index, ()))
                for index in sorted(raw, key=lambda index: -raw[index])
            ),
            reranked_by=f"fusion({', '.join(ranking.reranked_by for ranking in rankings)})",
            usage=total_usage(ranking.usage for ranking in rankings),
            truncated=max(ranking.truncated for ranking in rankings),
            failures=tuple(failure for ranking in rankings for failure in ranking.failures),
            duplicates={copy: kept for copy, kept in sorted(rankings[0].duplicates.items()) if copy not in raw},
            query_truncated=any(ranking.query_truncated for ranking in rankings),
        )
