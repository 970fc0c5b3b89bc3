"""`Reranker`: candidates in, best order out. Every reranker is a leaf or wraps other rerankers.

The base class does what all rerankers share. It checks the arguments and keeps blank documents away from the model. It
sorts by the model's own score, with ties in input order. It maps scores to [0, 1], then applies `min_score` and
`top_n`. A new leaf subclasses `ScoringReranker` and scores each document. A new wrapper subclasses `Reranker` and
returns an order.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from ksdk_rerank._closing import Closing
from ksdk_rerank._many import RanksMany
from ksdk_rerank._request import RankRequest
from ksdk_rerank._tracing import traced
from ksdk_rerank.errors import BadReply
from ksdk_rerank.results import Ranked, Ranking
from ksdk_rerank.scores import (
    ScoreKind,
    Scores,
    checked_kind,
    checked_scores,
    checked_spans,
    outside_its_range,
    unit_scores,
)

__all__ = ["Reranker", "ScoringReranker", "built", "members_of", "with_members"]

R = TypeVar("R")


class Reranker(RanksMany, Closing):
    """Orders documents by their relevance to a query, best first.

    Any reranker may be shared between threads and between event loops. `close` releases what it holds (weights,
    connections); the next call acquires it again.

    Subclasses implement `name`, `_rank` and `_arank`; see `ScoringReranker` for the usual way.
    """

    finds_passages: bool = False
    """Whether it sets `Ranked.spans` for every document that it scores, so that it needs no `Passages` around it."""

    instruction: str | None = None
    """The instruction that the model was given, for traces; None if there is none."""

    @property
    @abstractmethod
    def name(self) -> str:
        """A short name for results, traces and error messages, such as `"cohere:rerank-v3.5"`."""

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        min_score: float | None = None,
        min_keep: int = 0,
    ) -> Ranking:
        """Order `documents` by their relevance to `query`.

        Args:
            query: the search text; must not be blank.
            documents: the candidates' texts, which are never modified. Blank ones are not sent to the model: they come
                last, without a score.
            top_n: maximum number of documents to return; None returns all.
            min_score: return only documents whose `score`, in [0, 1], is at least this. Applied before `top_n`; ignored
                if no document in the ranking has a score.
            min_keep: return at least this many documents, if there are as many, even if fewer reach `min_score`.
                `top_n` still applies.

        Returns:
            The ranking, best first; equal scores keep the order of `documents`.

        Raises:
            TypeError: `documents` is a single string, a set or a mapping, or the query or a document is not a string.
            ValueError: the query is blank, `top_n` is less than 1, `min_score` is outside [0, 1], or `min_keep` is
                negative.
            RerankError: the model or service failed; see `ksdk_rerank.errors`.
        """
        return self._ranked(RankRequest.checked(query, documents, top_n, min_score, min_keep))

    async def arank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        min_score: float | None = None,
        min_keep: int = 0,
    ) -> Ranking:
        """Like `rank`, without blocking the event loop. Cancelling it removes the call from the model's queue."""
        return await self._aranked(RankRequest.checked(query, documents, top_n, min_score, min_keep))

    def _ranked(self, request: RankRequest) -> Ranking:
        with traced(self.name, request.query, len(request.documents), request.top_n, self.instruction) as record:
            inner = self._rank(request.query, texts) if (texts := request.texts) else Ranking((), self.name)
            ranking = self._located(request.query, request.finish(inner))
            record(ranking)
        return ranking

    async def _aranked(self, request: RankRequest) -> Ranking:
        with traced(self.name, request.query, len(request.documents), request.top_n, self.instruction) as record:
            inner = await self._arank(request.query, texts) if (texts := request.texts) else Ranking((), self.name)
            ranking = await self._alocated(request.query, request.finish(inner))
            record(ranking)
        return ranking

    @abstractmethod
    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        """Order all of `documents`: at least one, none blank. Leave out those listed in `Ranking.duplicates`."""

    @abstractmethod
    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        """Like `_rank`, natively asynchronous."""

    def _located(self, query: str, ranking: Ranking) -> Ranking:
        """Add `Ranked.spans` to the returned documents. Their texts are the caller's own here."""
        return ranking

    async def _alocated(self, query: str, ranking: Ranking) -> Ranking:
        """Like `_located`, natively asynchronous."""
        return ranking

    def warm_up(self) -> None:
        """Load what the first `rank` would load, so that it takes no longer than the second. Never calls a service."""

    async def awarm_up(self) -> None:
        """Like `warm_up`, without blocking the event loop."""

    def close(self) -> None:
        """Release weights and connections. The next call acquires them again."""

    def parameters(self) -> dict[str, object]:
        """The constructor's arguments by name. They are the reranker's whole state, and identify it.

        Every constructor argument is kept in an attribute of the same name. API keys are the exception: they do not
        identify a reranker, and must never be written out.
        """
        names = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def identifying_parameters(self) -> dict[str, object]:
        """The `parameters` that can change a ranking. Caches use them to tell rerankers apart."""
        return self.parameters()

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        shown = [f"{k}={v!r}" for k, v in self.parameters().items() if v != defaults[k].default]
        return f"{type(self).__name__}({', '.join(shown)})"


class ScoringReranker(Reranker):
    """A leaf: a reranker that gives every document a raw score.

    Subclasses set `score_kind` and implement `name`, `score` and `ascore`.
    """

    score_kind: ScoreKind

    pointwise: bool = False
    """Whether a score depends only on the query and that document, so that `Cached` can store it per document. Leave it
    False if a score also depends on the other candidates."""

    _if_logits = "set its score_kind to ScoreKind.LOGIT"  # advice in the error if scores turn out to be logits

    @abstractmethod
    def score(self, query: str, documents: Sequence[str]) -> Scores:
        """Raw scores of `documents`, in input order. There is at least one document and none is blank."""

    @abstractmethod
    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        """Like `score`, without blocking the event loop."""

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        return self._ordered(documents, self.score(query, documents))

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        return self._ordered(documents, await self.ascore(query, documents))

    def _ordered(self, documents: Sequence[str], scores: Scores) -> Ranking:
        checked_kind(self.score_kind)
        raw = checked_scores(scores.raw, len(documents), self.name)
        if outside := outside_its_range(raw, self.score_kind):
            raise BadReply(f"{self.name} returned {outside}; if it is a logit, {self._if_logits}", service=self.name)
        spans = checked_spans(scores.spans or [()] * len(raw), documents, self.name)
        values = unit_scores(raw, self.score_kind, scores.upper_bound)
        best_first = sorted(range(len(raw)), key=lambda index: -raw[index])  # stable: ties keep input order
        return Ranking(
            tuple(Ranked(index, documents[index], values[index], raw[index], spans[index]) for index in best_first),
            reranked_by=self.name,
            usage=scores.usage,
            truncated=scores.truncated,
            query_truncated=scores.query_truncated,
        )


def built(kind: Callable[..., R], parameters: Mapping[str, object]) -> R:
    """Build a reranker from its `parameters`. For `__reduce__`, which can only pass positional arguments."""
    return kind(**parameters)


def members_of(reranker: Reranker) -> list[Reranker]:
    """The rerankers that `reranker` is built from: those among its `parameters`, alone or in a list."""
    return [
        member
        for value in reranker.parameters().values()
        for member in (value if isinstance(value, (list, tuple)) else (value,))
        if isinstance(member, Reranker)
    ]


def with_members(reranker: Reranker) -> Iterator[Reranker]:
    """`reranker` and everything it is built from, at any depth."""
    yield reranker
    for member in members_of(reranker):
        yield from with_members(member)
