"""Fingerprints of this library, of rerankers and of passages, and hashes of requests that reveal no text."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence, Set
from enum import Enum
from itertools import chain, count

from ksdk_rerank._version import __version__
from ksdk_rerank.base import Reranker

__all__ = ["LIBRARY", "digest", "digest_after", "distinct_ids", "identity"]

LIBRARY = f"ksdk-rerank {__version__}"

_KEYS = {"api_key", "token"}
"""Constructor arguments that a reranker keeps secret, and that change no ranking."""


def digest(*parts: str) -> str:
    """A BLAKE2 hash of `parts`. The boundaries between the parts count."""
    return digest_after()(*parts)


def digest_after(*first: str) -> Callable[..., str]:
    """A `digest` with a fixed beginning: `first` is hashed once, however many keys begin with it."""
    begun = hashlib.blake2b(digest_size=20)
    _update(begun, first)

    def finished(*parts: str) -> str:
        state = begun.copy()
        _update(state, parts)
        return state.hexdigest()

    return finished


def _update(state: hashlib.blake2b, parts: Sequence[str]) -> None:
    for part in parts:
        text = part.encode()
        state.update(len(text).to_bytes(8, "big") + text)


def distinct_ids(ids: Sequence[str], texts: Sequence[str]) -> list[str]:
    """`ids` without repetitions: all but the first of an id get a hash of their text appended, always the same one."""
    taken, seen, distinct = set(ids), set[str](), []
    for own, text in zip(ids, texts, strict=True):
        made = own
        if own in seen:
            hashed = f"{own}#{digest(text.encode(errors='replace').decode())[:12]}"
            made = next(id for id in chain([hashed], (f"{hashed}-{n}" for n in count(2))) if id not in taken)
        seen.add(own)
        taken.add(made)
        distinct.append(made)
    return distinct


def identity(reranker: Reranker, unknown: str) -> str:
    """Identifies `reranker` by this library's version and its class, name and parameters.

    `unknown` stands for values that cannot be written.
    """
    return json.dumps([LIBRARY, *_written(reranker, unknown)])


def _written(value: object, unknown: str) -> list[object]:
    if value is None or isinstance(value, (bool, int, float, str)):
        return [type(value).__name__, repr(value)]
    if isinstance(value, Enum):
        return [_qualified(type(value)), value.name]
    if isinstance(value, os.PathLike):
        return ["path", os.fspath(value)]
    if isinstance(value, Reranker):
        kept_back = {*inspect.signature(type(value)).parameters} - {*value.parameters(), *_KEYS}
        parts: list[object] = [_qualified(type(value)), value.name, _written(value.identifying_parameters(), unknown)]
        return [*parts, unknown] if kept_back else parts
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return [_qualified(type(value)), _written(fields, unknown)]
    if isinstance(value, Mapping):
        return [
            "mapping",
            *sorted(([str(key), _written(item, unknown)] for key, item in value.items()), key=json.dumps),
        ]
    if isinstance(value, Set):
        return ["set", *sorted((_written(item, unknown) for item in value), key=json.dumps)]
    if isinstance(value, Sequence):
        return ["sequence", *(_written(item, unknown) for item in value)]
    return [_qualified(type(value)), unknown]


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
