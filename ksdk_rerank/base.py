"""`Reranker`: candidates in, best order out. Everything in this library is one, or is made of some.

What every reranker does alike is here, once: it checks the arguments, keeps blank documents away from the
model, orders by the model's own score with ties in input order, maps scores to [0, 1], applies `min_score`
and `top_n`. A new leaf subclasses `ScoringReranker` and says how relevant each document is; a wrapper
subclasses `Reranker` and says how to order.
"""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ksdk_rerank._closing import Closing
from ksdk_rerank._request import Call
from ksdk_rerank._tracing import traced
from ksdk_rerank.errors import BadReply
from ksdk_rerank.results import Ranked, Ranking

__all__ = ["Reranker", "ScoreKind", "Scores", "ScoringReranker", "outside_its_range"]

_ROUNDING = 0.001  # how far a score may be outside of its range: 16-bit models round 1 to 1.0004 or so


class ScoreKind(Enum):
    """What a raw score is, and so how it becomes a score in [0, 1]."""

    LOGIT = "logit"
    """Any real number; the score is its sigmoid."""
    UNIT = "unit"
    """In [0, 1] already, and the score is the same. One that is further outside than rounding explains is a `BadReply`:
    it is likely a logit."""
    COSINE = "cosine"
    """In [-1, 1]; the score is the same, and 0 if it is negative. One that is further outside is a `BadReply`."""
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
        query_truncated: see `Ranking.query_truncated`.
    """

    raw: Sequence[float]
    upper_bound: float | None = None
    usage: Mapping[str, float] = field(default_factory=dict)
    truncated: int = 0
    query_truncated: bool = False


class Reranker(Closing):
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
        call = Call.checked(query, documents, top_n, min_score)
        with traced(self.name, call.query, len(call.documents), call.top_n) as tell:
            ranking = call.finish(self._rank(call.query, texts) if (texts := call.texts) else Ranking((), self.name))
            tell(ranking)
        return ranking

    async def arank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        min_score: float | None = None,
    ) -> Ranking:
        """Like `rank`, without blocking the event loop; a cancelled call leaves the model's queue."""
        call = Call.checked(query, documents, top_n, min_score)
        with traced(self.name, call.query, len(call.documents), call.top_n) as tell:
            ranking = call.finish(
                await self._arank(call.query, texts) if (texts := call.texts) else Ranking((), self.name)
            )
            tell(ranking)
        return ranking

    @abstractmethod
    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        """Order all of `documents`: at least one, none blank. Those in `Ranking.duplicates` are left out."""

    @abstractmethod
    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        """Like `_rank`, natively asynchronous."""

    def close(self) -> None:
        """Give back weights and connections. Using the reranker again takes them again."""

    def parameters(self) -> dict[str, object]:
        """The constructor's arguments by name: the whole of a reranker's state, and what tells it from another.

        Every constructor argument is kept in an attribute of its own name. Keys are not: they are no part of what a
        reranker is, and must not be written down.
        """
        names = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def identifying_parameters(self) -> dict[str, object]:
        """Those of `parameters` that can change a ranking; a cache tells rerankers apart by them."""
        return self.parameters()

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        said = [f"{k}={v!r}" for k, v in self.parameters().items() if v != defaults[k].default]
        return f"{type(self).__name__}({', '.join(said)})"


class ScoringReranker(Reranker):
    """A leaf: a reranker that gives every document a raw score.

    Subclasses set `score_kind` and implement `name`, `score` and `ascore`.
    """

    score_kind: ScoreKind

    pointwise: bool = False
    """Whether a score depends on the query and that document alone, so that it can be remembered (`Cached`). Leave it
    False where the other candidates have any part in it."""

    _if_logits = "set its score_kind to ScoreKind.LOGIT"  # what to do about scores that are logits after all

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
        raw = checked_scores(scores.raw, len(documents), self.name)
        if outside := outside_its_range(raw, self.score_kind):
            raise BadReply(f"{self.name} gave {outside}; if they are logits, {self._if_logits}", service=self.name)
        calibrated = _calibrated(raw, self.score_kind, scores.upper_bound)
        best_first = sorted(range(len(raw)), key=lambda index: -raw[index])  # sorted() is stable: ties stay
        return Ranking(
            tuple(Ranked(index, documents[index], calibrated[index], raw[index]) for index in best_first),
            reranked_by=self.name,
            usage=scores.usage,
            truncated=scores.truncated,
            query_truncated=scores.query_truncated,
        )


def checked_scores(raw: Sequence[float], count: int, name: str) -> list[float]:
    """`raw` as Python floats, or `BadReply`: a document must never get another one's score or none at all."""
    if len(raw) != count:
        raise BadReply(f"{name} gave {len(raw)} scores for {count} documents", service=name)
    values = []
    for index, score in enumerate(raw):
        try:
            value = math.nan if isinstance(score, (bool, str)) else float(score)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            raise BadReply(f"{name} gave documents[{index}] the score {score!r}, not a finite number", service=name)
        values.append(value)
    return values


def outside_its_range(raw: Sequence[float], kind: ScoreKind) -> str | None:
    """What is wrong with the first of `raw` that cannot be a score of this kind; None if all can be."""
    lowest = {ScoreKind.UNIT: 0.0, ScoreKind.COSINE: -1.0}.get(kind)
    if lowest is None:
        return None
    for value in raw:
        if not lowest - _ROUNDING <= value <= 1.0 + _ROUNDING:
            return f"a document the score {value:g}, but its scores are to be from {lowest:g} to 1"
    return None


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
