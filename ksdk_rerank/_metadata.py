"""The three metadata keys that both adapters write, and when they trust values already there.

Metadata travels: a document stored with the scores of one query is found by another. So a score in metadata counts only
if a reranker in this process returned that very object for the same query.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from ksdk_rerank._arguments import number, plain

__all__ = ["SCORE_KEYS", "as_score", "hand_on", "rescored", "was_handed_on", "without_scores"]

SCORE_KEYS = ("relevance_score", "retrieval_score", "reranked_by")

_handed_on: WeakValueDictionary[tuple[Hashable, ...], Any] = WeakValueDictionary()


def as_score(value: object) -> float | None:
    """`value` as a finite float, or None if it is not a number. Some stores return numbers as strings."""
    value = plain(value)
    try:
        score = float(value) if isinstance(value, str) else float(number("score", value))
    except ValueError:
        return None
    return score if math.isfinite(score) else None


def without_scores(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `metadata` without our keys."""
    return {key: value for key, value in metadata.items() if key not in SCORE_KEYS}


def rescored(metadata: Mapping[str, Any], *, relevance: object, retrieval: object, reranked_by: str) -> dict[str, Any]:
    """A copy of `metadata` with the scores of this call, in types that JSON supports."""
    known = {} if (score := as_score(retrieval)) is None else {"retrieval_score": score}
    return {**without_scores(metadata), **known, "relevance_score": as_score(relevance), "reranked_by": reranked_by}


def hand_on(result: object, *call: Hashable) -> None:
    """Record that `call` returned `result`, for as long as `result` lives."""
    _handed_on[(id(result), *call)] = result


def was_handed_on(candidate: object, *call: Hashable) -> bool:
    """Whether `candidate` is the very object that `call` returned."""
    return _handed_on.get((id(candidate), *call)) is candidate
