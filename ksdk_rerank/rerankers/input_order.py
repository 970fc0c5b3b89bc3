"""`InputOrder`: a no-op reranker that keeps the first stage's order."""

from __future__ import annotations

from collections.abc import Sequence

from ksdk_rerank.base import Reranker
from ksdk_rerank.results import Ranked, Ranking

__all__ = ["InputOrder"]


class InputOrder(Reranker):
    """Keeps documents in their input order. It does not judge relevance, so every score is None.

    Use it as the last resort of a `Fallback`, as a baseline, or to give the first stage a vote in a `Fusion`.
    """

    @property
    def name(self) -> str:
        return "input-order"

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        return Ranking(tuple(Ranked(index, text) for index, text in enumerate(documents)), self.name)

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        return self._rank(query, documents)
