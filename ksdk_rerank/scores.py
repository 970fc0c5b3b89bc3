"""`Scores`: what a leaf's model gave each document, and how it becomes a score in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import Enum

from ksdk_rerank._arguments import WrongType
from ksdk_rerank.errors import BadReply

__all__ = [
    "ScoreKind",
    "Scores",
    "checked_kind",
    "checked_scores",
    "checked_spans",
    "outside_its_range",
    "sigmoid",
    "unit_scores",
]

_ROUNDING = 0.001  # tolerance around a score's range: 16-bit models round 1 to about 1.0004


class ScoreKind(Enum):
    """What a raw score means, which decides how it becomes a score in [0, 1]."""

    LOGIT = "logit"
    """Any real number. The score is its sigmoid."""
    UNIT = "unit"
    """Already in [0, 1]: the score is the raw score. A value outside the range by more than rounding raises `BadReply`,
    because it is probably a logit."""
    COSINE = "cosine"
    """In [-1, 1]: the score is the raw score, or 0 if that is negative. A value outside the range by more than rounding
    raises `BadReply`."""
    BOUNDED = "bounded"
    """From 0 to an upper bound that the query determines (`Scores.upper_bound`). The score is raw score / bound."""


@dataclass(frozen=True, slots=True)
class Scores:
    """A leaf's raw scores: one per document, in input order.

    Attributes:
        raw: one finite number per document; higher is better.
        upper_bound: the highest raw score possible for this query (`ScoreKind.BOUNDED` only).
        usage: see `Ranking.usage`.
        truncated: see `Ranking.truncated`.
        query_truncated: see `Ranking.query_truncated`.
        spans: `Ranked.spans` of each document; empty if nothing is known of any.
    """

    raw: Sequence[float]
    upper_bound: float | None = None
    usage: Mapping[str, float] = field(default_factory=dict)
    truncated: int = 0
    query_truncated: bool = False
    spans: Sequence[tuple[tuple[int, int], ...]] = ()


def checked_kind(kind: ScoreKind) -> ScoreKind:
    """`kind` itself. Raises `WrongType` if it is something else, such as a name, which no rule would apply to."""
    if not isinstance(kind, ScoreKind):
        kinds = ", ".join(map(str, ScoreKind))
        raise WrongType(f"score_kind must be one of {kinds}, got {kind!r:.80}")
    return kind


def checked_scores(raw: Sequence[float], count: int, name: str) -> list[float]:
    """`raw` as Python floats. Raises `BadReply` unless every document has exactly one finite score of its own."""
    if isinstance(raw, (Mapping, Set)):
        kind = type(raw).__name__
        raise BadReply(
            f"{name} returned its scores in a {kind}; return a list, in the order of the documents", service=name
        )
    if len(raw) != count:
        raise BadReply(f"{name} returned {len(raw)} scores for {count} documents; each needs exactly one", service=name)
    values = []
    for index, score in enumerate(raw):
        try:
            value = math.nan if isinstance(score, (bool, str)) else float(score)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            raise BadReply(f"{name} scored documents[{index}] {score!r}, which is not a finite number", service=name)
        values.append(value)
    return values


def checked_spans(
    spans: Sequence[tuple[tuple[int, int], ...]], documents: Sequence[str], name: str
) -> Sequence[tuple[tuple[int, int], ...]]:
    """`spans` as they are. Raises `BadReply` unless each lies in its document and holds a character."""
    for index, (document, own) in enumerate(zip(documents, spans, strict=True)):
        for start, end in own:
            if not 0 <= start < end <= len(document):
                place = f"documents[{index}], which has {len(document)} characters"
                raise BadReply(f"{name} returned the span ({start}, {end}) of {place}", service=name)
    return spans


def outside_its_range(raw: Sequence[float], kind: ScoreKind) -> str | None:
    """Describe the first score that is outside the range of `kind`, for an error message; None if all are inside."""
    lowest = {ScoreKind.UNIT: 0.0, ScoreKind.COSINE: -1.0}.get(kind)
    if lowest is None:
        return None
    for value in raw:
        if not lowest - _ROUNDING <= value <= 1.0 + _ROUNDING:
            return f"the score {value:g}, which is outside [{lowest:g}, 1]"
    return None


def unit_scores(raw: Sequence[float], kind: ScoreKind, upper_bound: float | None) -> list[float]:
    """Scores in [0, 1]. Each depends only on its own raw score and the query, never on the other candidates."""
    if kind is ScoreKind.LOGIT:
        return [sigmoid(value) for value in raw]
    scale = upper_bound if kind is ScoreKind.BOUNDED and upper_bound else 1.0
    return [min(1.0, max(0.0, value / scale)) for value in raw]


def sigmoid(logit: float) -> float:
    """1 / (1 + exp(-logit)), in a form that cannot overflow for either sign."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    return math.exp(logit) / (1.0 + math.exp(logit))
