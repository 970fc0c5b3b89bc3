"""`BatchedReranker`: base of the leaves that score many queries in one pass."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial

from ksdk_rerank._many import Many, aoutcome_of, outcome_of
from ksdk_rerank._request import RankRequest
from ksdk_rerank._tracing import traced
from ksdk_rerank.base import ScoringReranker
from ksdk_rerank.engines.scoring import Question, estimated_work
from ksdk_rerank.errors import InferenceFailed
from ksdk_rerank.results import Ranking
from ksdk_rerank.scores import Scores

__all__ = ["BatchedReranker"]

_TOKENS = 65_536
"""About how many tokens a pass has at least, unless the queries run out. It bounds the memory for token ids, to half a
megabyte. It makes 85 full batches on a CPU and four on a GPU: with more, hardly any padding could be saved."""

_Pass = Mapping[int, RankRequest]


class BatchedReranker(ScoringReranker):
    """A leaf whose `rank_many` scores queries together, so that their pairs share batches.

    If the engine fails in a pass, each of its queries is ranked by itself, so that only those at fault fail. Any other
    error is that of all queries in the pass. A pass is one call and one span.
    """

    @abstractmethod
    def score_many(self, questions: Sequence[Question]) -> Sequence[Scores]:
        """For each query, the raw scores of its documents. There is at least one document and none is blank."""

    @abstractmethod
    async def ascore_many(self, questions: Sequence[Question]) -> Sequence[Scores]:
        """Like `score_many`, without blocking the event loop."""

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        return self.score_many([(query, documents)])[0]

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return (await self.ascore_many([(query, documents)]))[0]

    def _rank_many(self, many: Many, max_concurrency: int) -> None:
        for group in _passes(many.requests):
            with self._span(group):
                scores = outcome_of(partial(self.score_many, _questions(group)))
            for number, (position, request) in enumerate(group.items()):
                if isinstance(scores, InferenceFailed) and len(group) > 1:
                    many.put(position, outcome_of(partial(self._ranked, request)))
                else:
                    many.put(position, outcome_of(partial(self._finished, request, scores, number)))

    async def _arank_many(self, many: Many, max_concurrency: int) -> None:
        for group in _passes(many.requests):
            with self._span(group):
                scores = await aoutcome_of(self.ascore_many(_questions(group)))
            for number, (position, request) in enumerate(group.items()):
                if isinstance(scores, InferenceFailed) and len(group) > 1:
                    many.put(position, await aoutcome_of(self._aranked(request)))
                else:
                    many.put(position, outcome_of(partial(self._finished, request, scores, number)))

    def _span(self, group: _Pass) -> AbstractContextManager[object]:
        first, *_ = group.values()
        count = sum(len(request.positions) for request in group.values())
        return traced(self.name, None, count, first.top_n, self.instruction)

    def _finished(self, request: RankRequest, scores: Sequence[Scores] | Exception, number: int) -> Ranking:
        if isinstance(scores, Exception):
            raise scores
        return request.finish(self._ordered(request.texts, scores[number]))


def _passes(requests: _Pass) -> Iterator[_Pass]:
    """Divide `requests` into passes, in order."""
    group: dict[int, RankRequest] = {}
    tokens = 0
    for position, request in requests.items():
        group[position] = request
        query = estimated_work(request.query)
        tokens += sum(query + estimated_work(text) for text in request.texts)
        if tokens >= _TOKENS:
            yield group
            group, tokens = {}, 0
    if group:
        yield group


def _questions(group: _Pass) -> list[Question]:
    return [(request.query, request.texts) for request in group.values()]
