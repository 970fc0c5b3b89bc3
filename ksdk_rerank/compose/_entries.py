"""Cache entries: rankings encoded as JSON without their texts, and the memory or store that holds them."""

from __future__ import annotations

import json
import math
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from ksdk_rerank.compose._forgiving import Forgiving, Store
from ksdk_rerank.concurrency.locks import Lock
from ksdk_rerank.results import Ranked, Ranking

__all__ = ["Entries", "Memory", "Store", "decoded", "encoded"]


class Memory:
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
    """A cache's entries, in `store` if there is one, otherwise in memory.

    Args:
        max_entries: maximum number of documents that the entries in memory cover.
        ttl: seconds after which an entry expires, or None.
        store: keeps the entries instead of memory, or None. A failed read is a miss, and a failed write is not kept.
    """

    def __init__(self, max_entries: int, ttl: float | None, store: Store | None) -> None:
        self._memory = Memory(max_entries)
        self._ttl = ttl
        self._store = Forgiving.around(store)

    def read(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, Ranking]:
        """The cached rankings among `wanted`, which maps each key to the texts it covers."""
        if self._store is None:
            entries: Mapping[str, object] = {key: self._memory.get(key) for key in wanted}
        else:
            entries = self._store.read(wanted)
        kept = {key: decoded(entry, wanted[key], self._ttl) for key, entry in entries.items()}
        return {key: ranking for key, ranking in kept.items() if ranking is not None}

    def write(self, rankings: Mapping[str, Ranking]) -> None:
        """Store `rankings` under their keys."""
        if self._store is None:
            for key, ranking in rankings.items():
                self._memory.put(key, encoded(ranking), documents=len(ranking) + len(ranking.duplicates))
        else:
            self._store.write({key: encoded(ranking) for key, ranking in rankings.items()})

    def forget(self) -> None:
        """Clear the entries in memory."""
        self._memory.clear()


def encoded(ranking: Ranking) -> str:
    """`ranking` as JSON with the current time, without its texts, usage and failures."""
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
    """The cached ranking of `documents`, or None if the entry has expired or is not valid."""
    try:
        fields = json.loads(entry)  # type: ignore[arg-type]  # a store may hold anything
        if ttl is not None and not 0 <= time.time() - fields["written"] < ttl:
            return None
        results = tuple(_ranked(documents, *result) for result in fields["results"])
        duplicates = {_place(copy, documents): _place(kept, documents) for copy, kept in fields["duplicates"]}
        ranking = Ranking(
            results,
            _text(fields["reranked_by"]),
            truncated=_count(fields["truncated"]),
            duplicates=duplicates,
            query_truncated=_flag(fields["query_truncated"]),
        )
        complete = sorted([*ranking.indices, *duplicates]) == list(range(len(documents)))
        return ranking if complete and {*duplicates.values()} <= {*ranking.indices} else None
    except Exception:  # nested too deeply, numbers too large, wrong types: not an entry of ours
        return None


def _ranked(documents: Sequence[str], index: object, score: object, raw_score: object, span: object) -> Ranked:
    document = documents[_place(index, documents)]
    number = _number(score)
    if number is not None and not 0 <= number <= 1:
        raise ValueError(f"{number} is not in [0, 1]")
    return Ranked(_count(index), document, number, _number(raw_score), _span(span, document))


def _span(value: object, document: str) -> tuple[int, int] | None:
    if value is None:
        return None
    start, end = map(_count, value)  # type: ignore[call-overload]
    if not start <= end <= len(document):
        raise ValueError(f"{value!r} is not in the document")
    return start, end


def _place(value: object, documents: Sequence[str]) -> int:
    place = _count(value)
    documents[place]  # raises if it is out of range
    return place


def _count(value: object) -> int:
    if type(value) is int and value >= 0:
        return value
    raise ValueError(f"{value!r} is not a count")


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(f"{value!r} is not true or false")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"{value!r} is not a text")


def _number(value: object) -> float | None:
    if value is None or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"{value!r} is not a score")
