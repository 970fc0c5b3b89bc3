"""`parse_results`: search results, from any reply shape that KnowledgeSDK's own clients accept.

Follows the vendor's clients (knowledgesdk-node of 2026-04-29, knowledgesdk-mcp and knowledgesdk-cli 0.3.0 of
2026-05-08, PyPI knowledgesdk 0.2.0), which disagree on the shape of a reply. But: a reply that none of them can read is
an error here, never an empty result. There are three outcomes: hits with text; an empty list, if nothing in the reply
contradicts it; or a `ValueError` that quotes the service.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ksdk_rerank._text.words import encodable
from ksdk_rerank.knowledgesdk._items import TEXT_FIELDS, hit_in
from ksdk_rerank.knowledgesdk._reply import failure_in, field_names, quotable
from ksdk_rerank.knowledgesdk.search_results import SearchHit, SearchResults

__all__ = ["parse_results"]

_LIST_FIELDS = ("hits", "results", "items")
_log = logging.getLogger("ksdk_rerank")


def parse_results(data: object, query: str, limit: int) -> SearchResults:
    """Parse a decoded reply; a `ValueError` states what makes a reply unreadable.

    Items without text are left out with a warning, as long as others have text.
    """
    envelope = data if isinstance(data, dict) else {}
    items, hits = _first_readable(_lists(data))
    failure = failure_in(envelope)
    total, its_query = envelope.get("total"), envelope.get("query")
    counted = total if isinstance(total, int) and not isinstance(total, bool) else len(items)
    if not hits and counted > 0:
        failure = failure or f"total: {counted}"
    if failure and not hits:
        raise ValueError(f"it has no hits and reports {failure}{_quoted(envelope, failure)}")
    if failure:
        _log.warning("a search found %d hits, but also reports %s; some may be missing", len(hits), failure)
    return SearchResults(
        tuple(hits[:limit]),
        query=encodable(its_query if isinstance(its_query, str) else query),
        total=counted,
    )


def _lists(data: object) -> list[list[object]]:
    if isinstance(data, list):
        return [data]
    if not isinstance(data, dict):
        raise ValueError(f"the reply is {_kind(data)}, not an object or an array")
    lists = [data[name] for name in _LIST_FIELDS if isinstance(data.get(name), list)]
    if not lists:
        wrong = [f"{name} is {_kind(data[name])}" for name in _LIST_FIELDS if name in data]
        there = "; ".join(wrong) or f"none of {', '.join(_LIST_FIELDS)}, it has {field_names(data)}"
        raise ValueError(f"the reply has no list of hits ({there}){_quoted(data)}")
    return lists


def _first_readable(lists: Sequence[list[object]]) -> tuple[list[object], list[SearchHit]]:
    """The first of `lists` that yields hits, as its items and its hits; both are empty if all `lists` are.

    Raises the first error if no list can be read.
    """
    refused: ValueError | None = None
    for items in filter(None, lists):
        try:
            return items, _hits(items)
        except ValueError as error:
            refused = refused or error
    if refused is not None:
        raise refused
    return [], []


def _hits(items: list[object]) -> list[SearchHit]:
    hits, without_text = [], []
    for position, item in enumerate(items):
        if not isinstance(item, dict):
            raise ValueError(f"item {position} is {_kind(item)}, not an object")
        try:
            hit = hit_in(item)
        except ValueError as error:
            raise ValueError(f"item {position} cannot be read: {error}") from error
        if hit is None:
            without_text.append(item)
        else:
            hits.append(hit)
    if without_text:
        problem = (
            f"{len(without_text)} of {len(items)} items have no text under {', '.join(TEXT_FIELDS)}"
            f" (the first has {field_names(without_text[0])}){_quoted(without_text[0])}"
        )
        if not hits:
            raise ValueError(problem)
        _log.warning("some search results were left out: %s", problem)
    return hits


def _quoted(data: object, quoted: str = "") -> str:
    """The service's explanation, to append to a message, unless `quoted` already contains it."""
    explanation = quotable(data)
    return f"; it says: {explanation}" if explanation and explanation not in quoted else ""


def _kind(value: object) -> str:
    names = {type(None): "null", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), f"a {type(value).__name__}")
