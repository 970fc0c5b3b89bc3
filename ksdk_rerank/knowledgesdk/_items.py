"""Parses one item of a search reply: its text, its id and all its other fields."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Iterable, Mapping
from typing import Any

from ksdk_rerank._arguments import finite
from ksdk_rerank._text.words import encodable
from ksdk_rerank.knowledgesdk._reply import merged, plain_fields, text_in

__all__ = ["TEXT_FIELDS", "fields_of"]

TEXT_FIELDS = ("content", "snippet", "description", "title")
_SOURCE_FIELDS = ("source", "sourceUrl", "url")
_DROPPED_FIELDS = {"embedding"}  # 1,536 numbers that nothing downstream uses


def fields_of(item: Mapping[str, object]) -> dict[str, Any] | None:
    """The `SearchHit` fields for `item`, or None if it has no text. A `ValueError` states what cannot be read."""
    for text_field in TEXT_FIELDS:
        try:
            text, is_whole = text_in(item.get(text_field))
        except ValueError as error:
            raise ValueError(f"its {text_field} is {error}") from error
        if text.strip():
            break
    else:
        return None
    nested = item.get("metadata")
    inner = nested if isinstance(nested, dict) else {}
    id, score = _id(item.get("id")), finite(item.get("score"))
    title_field, source_field = _first_text(item, ["title"]), _first_text(item, _SOURCE_FIELDS)
    # Metadata is everything that no attribute holds, including an id or a score that cannot be read.
    held: set[str | None] = {name for name in ("id", "title", "score", "metadata") if not _has_value(item.get(name))}
    held |= {name for name, value in (("id", id), ("score", score)) if value is not None}
    held |= {title_field, source_field, text_field if is_whole else None, "metadata" if inner else None}
    source = _text(item, source_field) or _text(inner, _first_text(inner, _SOURCE_FIELDS))
    return {
        "id": id or hashlib.sha256(f"{source or ''}\0{text}".encode()).hexdigest()[:32],
        "text": text,
        "title": _text(item, title_field) or _text(inner, _first_text(inner, ["title"])),
        "source": source,
        "score": score,
        "metadata": merged(_written(item, held | _DROPPED_FIELDS), _written(inner, _DROPPED_FIELDS).items()),
    }


def _first_text(item: Mapping[str, object], names: Iterable[str]) -> str | None:
    """The first of `names` whose value in `item` is a non-blank string."""
    return next((name for name in names if isinstance(item.get(name), str) and _has_value(item[name])), None)


def _text(item: Mapping[str, object], name: str | None) -> str | None:
    return None if name is None else encodable(str(item[name]))


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
