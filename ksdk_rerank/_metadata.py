"""Documents of both frameworks: the text to score, the text to return, and the metadata that the adapters write.

Metadata travels: a document stored with the scores of one query is found by another. So a score in metadata counts only
if a reranker in this process returned that very object for the same query.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol, TypeVar
from weakref import WeakValueDictionary

from ksdk_rerank._arguments import finite, function_or_none, integer_or_none
from ksdk_rerank._text.excerpts import excerpt
from ksdk_rerank._text.fields import labelled
from ksdk_rerank.results import Ranked

__all__ = [
    "SCORE_KEYS",
    "checked_count",
    "checked_max_tokens",
    "checked_text",
    "mark_returned",
    "own_keys",
    "passages_of",
    "rescored",
    "score_in",
    "texts_of",
    "without_scores",
]

SCORE_KEYS = ("relevance_score", "retrieval_score", "reranked_by", "relevant_spans")

_EXTENT = ("start", "end", "original_length")  # of an excerpt

_returned: WeakValueDictionary[tuple[Hashable, ...], Any] = WeakValueDictionary()


class _Item(Protocol):
    """A document or node of any framework."""

    metadata: dict[str, Any]


T = TypeVar("T", bound=_Item)


def score_in(metadata: Mapping[str, Any]) -> float | None:
    """The search's score, for frameworks that have no other place for it. None if an earlier query left the scores."""
    if "reranked_by" in metadata:
        return None
    scores = (finite(metadata.get(key)) for key in ("retrieval_score", "relevance_score"))
    return next((score for score in scores if score is not None), None)


def checked_text(text: object) -> object:
    """Check what to score: None (the content), a function of the document, or metadata keys.

    The keys are a sequence, returned as a tuple, or a mapping from labels, in which None stands for the content.
    """
    if text is None or callable(text):
        return text
    if isinstance(text, Mapping):
        if not all(isinstance(label, str) and isinstance(key, (str, type(None))) for label, key in text.items()):
            raise TypeError(f"text must map labels to metadata keys, or to None for the content, got {text!r}")
        return dict(text)
    if isinstance(text, str) or not isinstance(text, Sequence) or not all(isinstance(key, str) for key in text):
        advice = "a single key needs a list, such as ['title']"
        raise TypeError(f"text must be a function, or metadata keys in a sequence or mapping, got {text!r}; {advice}")
    return tuple(text)


def checked_count(count: object) -> object:
    """Check a function that counts a text's tokens, or None for the estimate."""
    return function_or_none("count_tokens", count, returns="the number of tokens in a text")


def checked_max_tokens(max_tokens: object) -> int | None:
    """Check `max_tokens` of `Ranking.within`, or None for no limit."""
    return integer_or_none("max_tokens", max_tokens, unit="token", advice="use None for no limit")


def texts_of(
    items: Sequence[T],
    text: Callable[[T], str] | Sequence[str] | Mapping[str, str | None] | None,
    content: Callable[[T], str],
) -> list[str]:
    """What to score of each item: `text(item)`, or its content and the metadata values that `text` names.

    If a mapping does not say where the content goes, it comes last, labelled `text`.
    """
    if callable(text):
        return [text(item) for item in items]
    if isinstance(text, Mapping):
        fields = (text if None in text.values() else {**text, "text": None}).items()
        return [
            labelled({label: content(item) if key is None else item.metadata.get(key) for label, key in fields})
            for item in items
        ]
    lines = ([*(item.metadata.get(key) for key in text or ()), content(item)] for item in items)
    return ["\n".join(str(line) for line in each if line is not None) for each in lines]


def own_keys(metadata: Mapping[str, Any]) -> set[str]:
    """The keys in `metadata` that a reranker wrote. `start` and `end` may be anybody's, so they need all the others."""
    extent = _EXTENT if metadata.keys() >= {"reranked_by", *_EXTENT} else ()
    return metadata.keys() & {*SCORE_KEYS, *extent}


def without_scores(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `metadata` without our keys."""
    return {key: value for key, value in metadata.items() if key not in SCORE_KEYS}


def rescored(
    item: _Item, call: Hashable, relevance: object, *, retrieval: float | None, reranked_by: str
) -> dict[str, Any]:
    """A copy of the item's metadata with the scores of this call, in types that JSON supports.

    `retrieval` is the search's score. If an earlier reranker of the same `call` returned this very item, the score that
    it kept in the metadata takes precedence.
    """
    if _returned.get((id(item), call)) is item:
        retrieval = finite(item.metadata.get("retrieval_score"))
    known = {} if retrieval is None else {"retrieval_score": retrieval}
    scores = {"relevance_score": finite(relevance), "reranked_by": reranked_by}
    return without_scores(item.metadata) | known | scores


def mark_returned(item: T, call: Hashable) -> T:
    """Return `item`, and record that `call` returned it, for as long as it lives."""
    _returned[(id(item), call)] = item
    return item


def passages_of(ranked: Ranked, content: str, *, shorten: bool) -> tuple[str, dict[str, Any]]:
    """The text to return for `ranked`, and what its metadata gains, in types that JSON supports.

    `content` is the document's own text, which may be only a part of what the reranker read. Positions are in
    characters of `content`. If `shorten`, the text is the excerpt; `start` and `end` are the first and last position of
    its passages, and `original_length` is the length of `content`. Without passages in it, `content` is returned whole.
    """
    offset = ranked.document.rfind(content)
    inside = [(max(start - offset, 0), min(end - offset, len(content))) for start, end in ranked.spans]
    spans = [(start, end) for start, end in inside if start < end]
    if offset < 0 or not spans:
        return content, {}
    found: dict[str, Any] = {"relevant_spans": [list(span) for span in spans]}
    if not shorten:
        return content, found
    start, end = min(start for start, _ in spans), max(end for _, end in spans)
    return excerpt(content, spans), found | {"start": start, "end": end, "original_length": len(content)}
