"""`Cascade`: a cheap reranker for all documents, an expensive one for the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ksdk_rerank._arguments import integer
from ksdk_rerank.base import Reranker, ScoringReranker
from ksdk_rerank.compose._wrapper import Wrapper, resolved
from ksdk_rerank.loading import load_reranker
from ksdk_rerank.results import Ranked, Ranking, total_usage

__all__ = ["Cascade"]


class Cascade(Wrapper):
    """Orders all documents with `first`, then reorders the best `keep` with `second`.

        Cascade("lexical", "cross-encoder/ms-marco-MiniLM-L-6-v2", keep=20)

    Args:
        first: a cheap reranker, or its name.
        second: a more accurate one, or its name.
        keep: how many of the first stage's best documents go on to the second, whose time grows with this number. The
            second stage cannot recover a document that the first ranks too low. How often that happens was measured on
            questions whose right document is among the candidates (100 from BM25 for SciFact's train questions, 50 for
            SQuAD's dev questions). "lexical" has it among its best 20 for 91 and 97 % of them, and among its best 30
            for 93 and 98 %. The candidates' own order, `InputOrder()` as the first stage, has it among the best 20 for
            93 and 98 % (`benchmarks/compose.py`, 2026-11-23).

    The best `keep` come first, with the scores of `second`. The others follow in the order of `first`, without scores,
    because two models' scores are on different scales. `min_score` therefore drops all of the others. The second stage
    gets its documents in input order, so ties keep that order.

    With `keep` documents or fewer, a leaf as the first stage is skipped, because its order could not matter. Any other
    first stage still runs, since it may leave duplicates out.

    `usage` is the sum of both stages. `truncated` is the larger of their counts, because both cut the same documents.
    `failures` and `duplicates` combine both stages; `query_truncated` is set if either cut the query. If a stage fails,
    its error is raised.
    """

    def __init__(self, first: str | Reranker, second: str | Reranker, *, keep: int = 20) -> None:
        self.first = load_reranker(first)
        self.second = load_reranker(second)
        self.keep = integer("keep", keep, advice="it is the number of documents for the second stage")

    @property
    def name(self) -> str:
        return f"cascade({self.first.name}, {self.second.name})"

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        first = self._unread(documents) or self.first.rank(query, documents)
        head = self._head(first)
        return self._joined(first, head, self.second.rank(query, [documents[index] for index in head]))

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        first = self._unread(documents) or await self.first.arank(query, documents)
        head = self._head(first)
        return self._joined(first, head, await self.second.arank(query, [documents[index] for index in head]))

    def _unread(self, documents: Sequence[str]) -> Ranking | None:
        """A placeholder for the first stage's ranking if that stage can be skipped, else None."""
        if len(documents) > self.keep or not isinstance(self.first, ScoringReranker):
            return None
        return Ranking(tuple(Ranked(index, text) for index, text in enumerate(documents)), self.first.name)

    def _head(self, first: Ranking) -> list[int]:
        return sorted(first.indices[: self.keep])

    def _joined(self, first: Ranking, head: Sequence[int], second: Ranking) -> Ranking:
        best = [replace(ranked, index=head[ranked.index]) for ranked in second]
        rest = [Ranked(ranked.index, ranked.document) for ranked in first[self.keep :]]
        copies = {head[copy]: head[kept] for copy, kept in second.duplicates.items()}
        return Ranking(
            (*best, *rest),
            reranked_by=f"cascade({first.reranked_by}, {second.reranked_by})",
            usage=total_usage((first.usage, second.usage)),
            truncated=max(first.truncated, second.truncated),
            failures=(*first.failures, *second.failures),
            duplicates=resolved({**first.duplicates, **copies}),
            query_truncated=first.query_truncated or second.query_truncated,
        )
