"""`InputOrder`: the first stage's own order, as a reranker."""

from __future__ import annotations

from collections.abc import Sequence

from ksdk_rerank.base import Reranker
from ksdk_rerank.results import Ranked, Ranking

__all__ = ["InputOrder"]


class InputOrder(Reranker):
    """Keeps documents in the order they came in. It knows nothing of relevance, so scores are None.

    It is the last resort of a `Fallback`, the baseline of a comparison, and the first stage's voice in a `Fusion`.
    """

    @property
    def name(self) -> str:
        return "input-order"

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        return Ranking(tuple(Ranked(index, text) for index, text in enumerate(documents)), self.name)

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        return self._rank(query, documents)
