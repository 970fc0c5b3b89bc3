"""`Reranker`: candidates in, best order out. Everything in this library is one, or is made of some.

What every reranker does alike is here, once: it checks the arguments, keeps blank documents away from the
model, orders by the model's own score with ties in input order, maps scores to [0, 1], applies `min_score`
and `top_n`. A new leaf subclasses `ScoringReranker` and says how relevant each document is; a wrapper
subclasses `Reranker` and says how to order.
"""

from __future__ import annotations

import inspect
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from types import TracebackType
from typing import ClassVar, Self

from ksdk_rerank.errors import BadReply
from ksdk_rerank.results import Ranked, Ranking

__all__ = ["Reranker", "ScoreKind", "Scores", "ScoringReranker"]


class ScoreKind(Enum):
    """What a raw score is, and so how it becomes a score in [0, 1]."""

    LOGIT = "logit"
    """Any real number; the score is its sigmoid."""
    UNIT = "unit"
    """In [0, 1] by the service's own account; the score is the same, clipped where a service strays outside."""
    BOUNDED = "bounded"
    """From 0 to a bound that the query fixes (`Scores.upper_bound`); the score is the quotient."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What a leaf found out: one raw score a document, in input order.

    Attributes:
        raw: as many finite numbers as documents; higher is better.
        upper_bound: the highest raw score that this query allows (`ScoreKind.BOUNDED` only).
        usage: see `Ranking.usage`.
        truncated: see `Ranking.truncated`.
    """

    raw: Sequence[float]
    upper_bound: float | None = None
    usage: Mapping[str, float] = field(default_factory=dict)
    truncated: int = 0


class Reranker(ABC):
    """Orders documents by their relevance to a query, best first.

    Any reranker may be shared between threads and between event loops. `close` gives back what it holds
    (weights, connections); using it again takes them again.

    Subclasses implement `name`, `_rank` and `_arank`; see `ScoringReranker` for the usual way.
    """

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
    ) -> Ranking:
        """Order `documents` by their relevance to `query`.

        Args:
            query: what is looked for; not blank.
            documents: the candidates' texts. They are not changed, and blank ones are not sent to the model: they
                come last, without a score.
            top_n: how many to return at most; None returns all.
            min_score: return only documents whose `score`, in [0, 1], is at least this. It is applied before
                `top_n`, and not at all where the whole ranking has no scores.

        Returns:
            The ranking, best first; equal scores keep the order of `documents`.

        Raises:
            TypeError: `documents` is one string, or the query or a document is not a string.
            ValueError: the query is blank, `top_n` is less than 1, or `min_score` is outside [0, 1].
            RerankError: the model or service failed; see `ksdk_rerank.errors`.
        """
        call = _Call.checked(query, documents, top_n, min_score)
        return call.finish(self._rank(call.query, call.texts) if call.texts else Ranking((), self.name))

    async def arank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        min_score: float | None = None,
    ) -> Ranking:
        """Like `rank`, without blocking the event loop; a cancelled call leaves the model's queue."""
        call = _Call.checked(query, documents, top_n, min_score)
        ranking = await self._arank(call.query, call.texts) if call.texts else Ranking((), self.name)
        return call.finish(ranking)

    @abstractmethod
    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        """Order all of `documents`: at least one, none blank. Those in `Ranking.duplicates` are left out."""

    @abstractmethod
    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        """Like `_rank`, natively asynchronous."""

    def close(self) -> None:  # noqa: B027 - most rerankers hold nothing
        """Give back weights and connections. Using the reranker again takes them again."""

    async def aclose(self) -> None:
        """Like `close`, and also closes the connections of the running event loop."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def parameters(self) -> dict[str, object]:
        """The constructor's arguments by name: the whole of a reranker's state, and what tells it from another.

        Every constructor argument is kept in an attribute of its own name. Keys are not: they are no part of what a
        reranker is, and must not be written down.
        """
        names = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        said = [f"{k}={v!r}" for k, v in self.parameters().items() if v is not defaults[k].default]
        return f"{type(self).__name__}({', '.join(said)})"


class ScoringReranker(Reranker):
    """A leaf: a reranker that gives every document a raw score.

    Subclasses set `score_kind` and implement `name`, `score` and `ascore`.
    """

    score_kind: ClassVar[ScoreKind]

    @abstractmethod
    def score(self, query: str, documents: Sequence[str]) -> Scores:
        """Raw scores of `documents` in input order. There is at least one document, and none is blank."""

    @abstractmethod
    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        """Like `score`, without blocking the event loop."""

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        return self._ordered(documents, self.score(query, documents))

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        return self._ordered(documents, await self.ascore(query, documents))

    def _ordered(self, documents: Sequence[str], scores: Scores) -> Ranking:
        raw = _checked_scores(scores.raw, len(documents), self.name)
        calibrated = _calibrated(raw, self.score_kind, scores.upper_bound)
        best_first = sorted(range(len(raw)), key=lambda index: -raw[index])  # sorted() is stable: ties stay
        return Ranking(
            tuple(Ranked(index, documents[index], calibrated[index], raw[index]) for index in best_first),
            reranked_by=self.name,
            usage=scores.usage,
            truncated=scores.truncated,
        )


@dataclass(frozen=True, slots=True)
class _Call:
    """The checked arguments of one `rank`."""

    query: str
    documents: Sequence[str]
    positions: Sequence[int]  # of the documents that are not blank
    top_n: int | None
    min_score: float | None

    @classmethod
    def checked(cls, query: str, documents: Sequence[str], top_n: int | None, min_score: float | None) -> _Call:
        if not isinstance(query, str):
            raise TypeError(f"query must be a string, got {type(query).__name__}")
        if not query.strip():
            raise ValueError(f"query is blank ({query!r}); pass the question that the documents should answer")
        if isinstance(documents, (str, bytes)):
            raise TypeError("documents must be a sequence of strings, got one string; wrap it in a list")
        documents = list(documents)
        for index, document in enumerate(documents):
            if not isinstance(document, str):
                raise TypeError(f"documents[{index}] must be a string, got {type(document).__name__}; pass its text")
        if top_n is not None:
            top_n = _checked_top_n(top_n)
        if min_score is not None:
            min_score = _checked_min_score(min_score)
        positions = [index for index, document in enumerate(documents) if document.strip()]
        return cls(_encodable(query), documents, positions, top_n, min_score)

    @property
    def texts(self) -> list[str]:
        """What the model reads: the documents that are not blank, in characters that can be encoded."""
        return [_encodable(self.documents[position]) for position in self.positions]

    def finish(self, ranking: Ranking) -> Ranking:
        """`ranking` over `texts` becomes one over `documents`, cut to what the caller asked for."""
        if sorted([*ranking.indices, *ranking.duplicates]) != list(range(len(self.positions))):
            raise BadReply(
                f"{ranking.reranked_by} ranked {len(ranking)} of {len(self.positions)} documents, or some twice",
                service=ranking.reranked_by,
            )
        positions = [self.positions[ranked.index] for ranked in ranking]
        results = [
            replace(ranked, index=position, document=self.documents[position])
            for ranked, position in zip(ranking, positions, strict=True)
        ]
        has_scores = any(ranked.score is not None for ranked in results)
        not_blank = set(self.positions)
        results += [Ranked(index, document) for index, document in enumerate(self.documents) if index not in not_blank]
        if self.min_score is not None and has_scores:
            results = [r for r in results if r.score is not None and r.score >= self.min_score]
        duplicates = {self.positions[copy]: self.positions[kept] for copy, kept in ranking.duplicates.items()}
        return replace(ranking, results=tuple(results[: self.top_n]), duplicates=duplicates)


def _encodable(text: str) -> str:
    """`text` with halves of surrogate pairs, which no tokenizer and no JSON body can carry, joined or replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _checked_top_n(top_n: int) -> int:
    if isinstance(top_n, bool):
        raise TypeError(f"top_n must be an integer or None, got {top_n!r}")
    top_n = operator.index(top_n)
    if top_n < 1:
        raise ValueError(f"top_n must be at least 1, got {top_n}; use None to get every document back")
    return top_n


def _checked_min_score(min_score: float) -> float:
    value = float(min_score)
    if not 0.0 <= value <= 1.0:
        raise ValueError(
            f"min_score must be between 0 and 1, got {min_score!r}; it is compared with Ranked.score, not with"
            " raw_score"
        )
    return value


def _checked_scores(raw: Sequence[float], count: int, name: str) -> list[float]:
    """`raw` as Python floats, or `BadReply`: a document must never get another one's score or none at all."""
    if len(raw) != count:
        raise BadReply(f"{name} gave {len(raw)} scores for {count} documents", service=name)
    values = []
    for index, score in enumerate(raw):
        try:
            value = math.nan if isinstance(score, (bool, str)) else float(score)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise BadReply(f"{name} gave documents[{index}] the score {score!r}, not a finite number", service=name)
        values.append(value)
    return values


def _calibrated(raw: Sequence[float], kind: ScoreKind, upper_bound: float | None) -> list[float]:
    """Scores in [0, 1]. Each depends on its own raw score and the query, never on the other candidates'."""
    if kind is ScoreKind.LOGIT:
        return [_sigmoid(value) for value in raw]
    scale = upper_bound if kind is ScoreKind.BOUNDED and upper_bound else 1.0
    return [min(1.0, max(0.0, value / scale)) for value in raw]


def _sigmoid(logit: float) -> float:
    """1 / (1 + exp(-logit)), in the form that cannot overflow for either sign."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    return math.exp(logit) / (1.0 + math.exp(logit))
