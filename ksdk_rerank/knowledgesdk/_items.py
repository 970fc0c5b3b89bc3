"""Parses one item of a search reply: its text, its id and all its other fields."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Iterable, Mapping

from ksdk_rerank._arguments import finite
from ksdk_rerank._text.words import encodable
from ksdk_rerank.knowledgesdk._reply import merged, plain_fields, text_in
from ksdk_rerank.knowledgesdk.search_results import SearchHit

__all__ = ["TEXT_FIELDS", "hit_in"]

TEXT_FIELDS = ("content", "snippet", "description", "title")
_SOURCE_FIELDS = ("source", "sourceUrl", "url")
_DROPPED_FIELDS = {"embedding"}  # 1,536 numbers that nothing downstream uses


def hit_in(item: Mapping[str, object]) -> SearchHit | None:
    """The hit that `item` describes, or None if it has no text. A `ValueError` states what cannot be read."""
    found = _first_text(item)
    if found is None:
        return None
    text_field, text, is_whole = found
    nested = item.get("metadata")
    inner = nested if isinstance(nested, dict) else {}
    id, score = _id(item.get("id")), finite(item.get("score"))
    title_field, title = _first_string(item, ["title"])
    source_field, source = _first_string(item, _SOURCE_FIELDS)
    source = source or _first_string(inner, _SOURCE_FIELDS)[1]
    # Metadata is everything that no attribute holds, including an id or a score that cannot be read.
    read = {"id": id is not None, "score": score is not None, "metadata": bool(inner), text_field: is_whole}
    held: set[str | None] = {title_field, source_field, *(name for name, is_read in read.items() if is_read)}
    held |= {name for name in ("id", "title", "score", "metadata") if not _has_value(item.get(name))}
    return SearchHit(
        id=id or hashlib.sha256(f"{source or ''}\0{text}".encode()).hexdigest()[:32],
        text=text,
        title=title or _first_string(inner, ["title"])[1],
        source=source,
        score=score,
        metadata=merged(_written(item, held | _DROPPED_FIELDS), _written(inner, _DROPPED_FIELDS).items()),
    )


def _first_text(item: Mapping[str, object]) -> tuple[str, str, bool] | None:
    """The first field of `item` that has text, that text, and whether the field contains nothing else."""
    for name in TEXT_FIELDS:
        try:
            text, is_whole = text_in(item.get(name))
        except ValueError as error:
            raise ValueError(f"its {name} is {error}") from error
        if text.strip():
            return name, text, is_whole
    return None


def _first_string(item: Mapping[str, object], names: Iterable[str]) -> tuple[str, str] | tuple[None, None]:
    """The first of `names` whose value in `item` is a non-blank string, and that string; None twice without one."""
    for name in names:
        value = item.get(name)
        if isinstance(value, str) and value.strip():
            return name, encodable(value)
    return None, None


def _written(item: Mapping[str, object], without: Container[str | None]) -> dict[str, object]:
    """The JSON-serialisable fields of `item`, except those in `without`."""
    return plain_fields({name: value for name, value in item.items() if name not in without})


def _has_value(value: object) -> bool:
    return bool(value.strip()) if isinstance(value, str) else value is not None and value not in ({}, [])


def _id(value: object) -> str | None:
    """An id as a string, or None. 7.0 becomes "7", because some services send integers as floats."""
    if isinstance(value, float) and math.isfinite(value):
        value = int(value) if value.is_integer() else value
        return str(value)
    if isinstance(value, (str, int)) and not isinstance(value, bool) and _has_value(value):
        return encodable(str(value))
    return None
