"""Cache entries: rankings encoded as JSON without their texts, and the memory or store that holds them."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt

from ksdk_rerank.compose._fail_open import FailOpenStore, Store
from ksdk_rerank.concurrency.locks import Lock
from ksdk_rerank.concurrency.worker import Worker
from ksdk_rerank.results import Ranked, Ranking

__all__ = ["Entries", "Entry", "decoded", "encoded"]

_worker = Worker("ksdk-rerank-cached")  # for stores: disk access must not block an event loop


@dataclass(frozen=True, slots=True)
class Entry:
    """A cached ranking.

    Attributes:
        ranking: the ranking.
        seconds: how long the call took; 0 if it was not timed.
        first: whether it was the first call of a run, which loads the model or opens the connection.
    """

    ranking: Ranking
    seconds: float = 0.0
    first: bool = False


class _Stored(BaseModel):
    """The JSON form of an entry. A result is its index, score, raw score and spans."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    written: float
    results: list[
        tuple[
            NonNegativeInt,
            Annotated[float, Field(ge=0, le=1)] | None,
            float | None,
            list[tuple[NonNegativeInt, NonNegativeInt]],
        ]
    ]
    reranked_by: str
    truncated: NonNegativeInt
    duplicates: list[tuple[NonNegativeInt, NonNegativeInt]]
    query_truncated: bool
    usage: dict[str, float]
    seconds: NonNegativeFloat
    first: bool


def encoded(entry: Entry) -> str:
    """`entry` as JSON with the current time, without its texts and failures."""
    ranking = entry.ranking
    return json.dumps(
        {
            "written": time.time(),
            "results": [[ranked.index, ranked.score, ranked.raw_score, ranked.spans] for ranked in ranking],
            "reranked_by": ranking.reranked_by,
            "truncated": ranking.truncated,
            "duplicates": list(ranking.duplicates.items()),
            "query_truncated": ranking.query_truncated,
            "usage": dict(ranking.usage),
            "seconds": entry.seconds,
            "first": entry.first,
        }
    )


def decoded(text: object, documents: Sequence[str], ttl: float | None = None) -> Entry | None:
    """The entry for `documents` that `text` encodes, or None if it has expired or is not valid."""
    try:
        stored = _Stored.model_validate_json(text)  # type: ignore[arg-type]  # a store may hold anything
        results = tuple(
            Ranked(index, documents[index], score, raw, tuple(spans)) for index, score, raw, spans in stored.results
        )
    except Exception:  # wrong types, numbers out of range, nested too deeply: not an entry of ours
        return None
    duplicates = dict(stored.duplicates)
    indices = {ranked.index for ranked in results}
    sound = (
        sorted([*(ranked.index for ranked in results), *duplicates]) == list(range(len(documents)))
        and indices.issuperset(duplicates.values())
        and all(start < end <= len(one.document) for one in results for start, end in one.spans)
    )
    if not sound or (ttl is not None and not 0 <= time.time() - stored.written < ttl):
        return None
    ranking = Ranking(
        results,
        stored.reranked_by,
        stored.usage,
        stored.truncated,
        duplicates=duplicates,
        query_truncated=stored.query_truncated,
    )
    return Entry(ranking, stored.seconds, stored.first)


class _Memory:
    """An in-memory LRU cache. `limit` is the total number of documents its entries may cover."""

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

    def put(self, key: str, text: str, documents: int) -> None:
        with self._lock:
            self._documents += documents - self._entries.pop(key, ("", 0))[1]
            self._entries[key] = (text, documents)
            while self._documents > self._limit:
                self._documents -= self._entries.popitem(last=False)[1][1]

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._documents = 0


class Entries:
    """A cache's entries, in `store` if there is one, otherwise in memory.

    Args:
        max_entries: maximum number of documents that the entries in memory cover.
        ttl: seconds after which an entry expires, or None.
        store: keeps the entries instead of memory, or None. A failed read is a miss; a failed write is dropped.
    """

    def __init__(self, max_entries: int, ttl: float | None, store: Store | None) -> None:
        self._memory = _Memory(max_entries)
        self._ttl = ttl
        self._store = FailOpenStore.around(store)

    def read(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, Ranking]:
        """The cached rankings among `wanted`, which maps each key to the texts it covers."""
        if self._store is None:
            texts: Mapping[str, object] = {key: self._memory.get(key) for key in wanted}
        else:
            texts = self._store.read(wanted)
        entries = {key: decoded(text, wanted[key], self._ttl) for key, text in texts.items()}
        return {key: entry.ranking for key, entry in entries.items() if entry is not None}

    async def aread(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, Ranking]:
        """Like `read`, without blocking the event loop."""
        return self.read(wanted) if self._store is None else await _worker.arun(lambda: self.read(wanted))

    def write(self, rankings: Mapping[str, Ranking]) -> None:
        """Store `rankings` under their keys, except those for which a `Fallback` moved on."""
        sound = {key: ranking for key, ranking in rankings.items() if not ranking.failures}
        texts = {key: encoded(Entry(ranking)) for key, ranking in sound.items()}
        if self._store is not None:
            self._store.write(texts)
            return
        for key, ranking in sound.items():
            self._memory.put(key, texts[key], documents=len(ranking) + len(ranking.duplicates))

    async def awrite(self, rankings: Mapping[str, Ranking]) -> None:
        """Like `write`, without blocking the event loop."""
        if self._store is None:
            self.write(rankings)
        else:
            await _worker.arun(lambda: self.write(rankings))

    def forget(self) -> None:
        """Clear the entries in memory."""
        self._memory.clear()
