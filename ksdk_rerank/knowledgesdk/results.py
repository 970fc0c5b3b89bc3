"""What a search found, read from any of the shapes that KnowledgeSDK's own clients read.

Follows the vendor's clients (knowledgesdk-node of 2026-04-29, knowledgesdk-mcp and knowledgesdk-cli 0.3.0 of
2026-05-08, PyPI knowledgesdk 0.2.0), which disagree on the shape of a reply. But: what none of them would read is an
error here, never an empty result.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

__all__ = ["SearchHit", "SearchResults", "parse_results"]

_LIST_FIELDS = ("hits", "results", "items")
_TEXT_FIELDS = ("content", "snippet", "description", "title")
_SOURCE_FIELDS = ("source", "sourceUrl", "url")
_DROPPED_FIELDS = frozenset({"embedding"})  # 1,536 numbers that nobody downstream reads


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One candidate of the first stage.

    Attributes:
        id: the item's id; where the service sends none, one derived from source and text, the same every time.
        text: what there is to read, and to rerank.
        title: the item's title, or None.
        source: where the item comes from, usually a URL, or None.
        score: the first stage's score, or None. Its range is not documented: compare it within one reply only.
        metadata: everything else that the service sent, such as `category`.
    """

    id: str
    text: str
    title: str | None = None
    source: str | None = None
    score: float | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SearchResults(Sequence[SearchHit]):
    """The hits of one search in the service's own order, best first.

    Attributes:
        hits: at most as many as asked for.
        query: the query as the service understood it.
        total: how many hits the service counts; whether beyond those sent is not documented.
    """

    hits: tuple[SearchHit, ...]
    query: str
    total: int

    @property
    def texts(self) -> list[str]:
        """The hits' texts, as `Reranker.rank` takes them."""
        return [hit.text for hit in self.hits]

    @overload
    def __getitem__(self, position: int) -> SearchHit: ...
    @overload
    def __getitem__(self, position: slice) -> tuple[SearchHit, ...]: ...
    def __getitem__(self, position: int | slice) -> SearchHit | tuple[SearchHit, ...]:
        return self.hits[position]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[SearchHit]:
        return iter(self.hits)


def parse_results(data: object, query: str, limit: int) -> SearchResults:
    """Read a decoded reply; a `ValueError` says what is odd about one that cannot be read."""
    items = _items(data)
    hits = [hit for position, item in enumerate(items) if (hit := _hit(item, position)) is not None]
    envelope = data if isinstance(data, dict) else {}
    total, said_query = envelope.get("total"), envelope.get("query")
    return SearchResults(
        tuple(hits[:limit]),
        query=said_query if isinstance(said_query, str) else query,
        total=total if isinstance(total, int) and not isinstance(total, bool) else len(items),
    )


def _items(data: object) -> list[object]:
    if isinstance(data, list):
        return data
    if not isinstance(data, dict):
        raise ValueError(f"the reply is {_kind(data)}, not an object or an array")
    lists = [data[name] for name in _LIST_FIELDS if isinstance(data.get(name), list)]
    if not lists:
        raise ValueError(f"the reply has no list of hits (none of {', '.join(_LIST_FIELDS)})")
    return next(filter(None, lists), [])


def _hit(item: object, position: int) -> SearchHit | None:
    """The hit in `item`, or None where it has no text."""
    if not isinstance(item, dict):
        raise ValueError(f"item {position} is {_kind(item)}, not an object")
    text_field = _first_text(item, _TEXT_FIELDS)
    if text_field is None:
        return None
    source_field = _first_text(item, _SOURCE_FIELDS)
    text, source = item[text_field], item[source_field] if source_field else None
    nested = item.get("metadata")
    rest = {**nested, **item} if isinstance(nested, dict) else item
    read = {"id", "title", "score", text_field, source_field}
    if isinstance(nested, dict):
        read.add("metadata")
    return SearchHit(
        id=_id(item.get("id"), source, text),
        text=text,
        title=item["title"] if _first_text(item, ["title"]) else None,
        source=source,
        score=_score(item.get("score")),
        metadata={name: value for name, value in rest.items() if name not in read | _DROPPED_FIELDS},
    )


def _first_text(item: Mapping[str, object], names: Sequence[str]) -> str | None:
    """The first of `names` under which `item` has a text that is not blank."""
    for name in names:
        value = item.get(name)
        if isinstance(value, str) and value.strip():
            return name
    return None


def _id(value: object, source: str | None, text: str) -> str:
    if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
        return str(value)
    return hashlib.sha256(f"{source or ''}\0{text}".encode(errors="replace")).hexdigest()[:32]


def _score(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        score = float(value)
    except (ValueError, OverflowError):
        return None
    return score if math.isfinite(score) else None


def _kind(value: object) -> str:
    names = {type(None): "null", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), f"a {type(value).__name__}")
