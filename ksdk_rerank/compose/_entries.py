"""What a cache holds: rankings as JSON, under keys that tell nothing of the text."""

from __future__ import annotations

import json
import math
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Protocol

from ksdk_rerank._locks import Lock
from ksdk_rerank.results import Ranked, Ranking

__all__ = ["Entries", "Memory", "Store", "decoded", "encoded"]


class Store(Protocol):
    """Where entries can be kept: a `diskcache.Cache`, a `dict`, or anything else that threads may share."""

    def get(self, key: str, /) -> object:
        """The entry, or None."""

    def __setitem__(self, key: str, entry: str, /) -> None:
        """Keep the entry."""


class Memory:
    """Entries in memory: the most recently used, until they are about more documents than `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = Lock()
        self._entries: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._documents = 0

    def get(self, key: str) -> str | None:
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, key: str, entry: str, documents: int) -> None:
        with self._lock:
            self._documents += documents - self._entries.pop(key, ("", 0))[1]
            self._entries[key] = (entry, documents)
            while self._documents > self._limit:
                self._documents -= self._entries.popitem(last=False)[1][1]

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._documents = 0


class Entries:
    """A cache's entries, in `store` or else in memory.

    Args:
        max_entries: documents that entries in memory are about, at most.
        ttl: seconds after which an entry is not read any more, or None.
        store: where to keep them instead, or None.
    """

    def __init__(self, max_entries: int, ttl: float | None, store: Store | None) -> None:
        self._memory = Memory(max_entries)
        self._ttl = ttl
        self._store = store

    def read(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, Ranking]:
        """The rankings that are there, for keys and the texts that each is about."""
        entries = self._memory if self._store is None else self._store
        kept = {key: decoded(entries.get(key), texts, self._ttl) for key, texts in wanted.items()}
        return {key: ranking for key, ranking in kept.items() if ranking is not None}

    def write(self, rankings: Mapping[str, Ranking]) -> None:
        for key, ranking in rankings.items():
            if self._store is None:
                self._memory.put(key, encoded(ranking), documents=len(ranking) + len(ranking.duplicates))
            else:
                self._store[key] = encoded(ranking)

    def forget(self) -> None:
        """Forget what is in memory."""
        self._memory.clear()


def encoded(ranking: Ranking) -> str:
    """`ranking` without its texts and what it cost, and with the time."""
    return json.dumps(
        {
            "written": time.time(),
            "results": [[ranked.index, ranked.score, ranked.raw_score, ranked.span] for ranked in ranking],
            "reranked_by": ranking.reranked_by,
            "truncated": ranking.truncated,
            "duplicates": list(ranking.duplicates.items()),
            "query_truncated": ranking.query_truncated,
        }
    )


def decoded(entry: object, documents: Sequence[str], ttl: float | None) -> Ranking | None:
    """The ranking of `documents` that was kept, or None where it is too old or is not one."""
    try:
        fields = json.loads(entry)  # type: ignore[arg-type]  # a store may hold anything
        if ttl is not None and not 0 <= time.time() - fields["written"] < ttl:
            return None
        results = tuple(
            Ranked(index, documents[index], _number(score), _number(raw_score), span and (int(span[0]), int(span[1])))
            for index, score, raw_score, span in fields["results"]
        )
        duplicates = {int(copy): int(kept) for copy, kept in fields["duplicates"]}
        ranking = Ranking(
            results,
            str(fields["reranked_by"]),
            truncated=int(fields["truncated"]),
            duplicates=duplicates,
            query_truncated=fields["query_truncated"] is True,
        )
    except (TypeError, ValueError, LookupError):
        return None
    return ranking if sorted([*ranking.indices, *duplicates]) == list(range(len(documents))) else None


def _number(value: object) -> float | None:
    if value is None or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"{value!r} is not a score")
