"""`FailOpenStore`: wraps a user's cache store so that a broken store never fails a call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import Protocol

from ksdk_rerank._arguments import WrongType

__all__ = ["FailOpenStore", "Store"]

_log = logging.getLogger("ksdk_rerank")

_FAILURES_IN_A_ROW = 3  # then the store counts as down: each further try might wait for a timeout


class Store(Protocol):
    """A place for cache entries: a `diskcache.Cache`, a `dict`, or any other mapping that threads can share."""

    def get(self, key: str, /) -> object:
        """The entry, or None."""

    def __setitem__(self, key: str, entry: str, /) -> None:
        """Store the entry."""


class FailOpenStore:
    """Reads and writes `store`. A failed read is a miss; a failed write is dropped.

    The first failure logs one warning with the error's class. The error's message may contain a text, so it is logged
    only if the store has `errors_hold_no_text = True`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._explained = getattr(store, "errors_hold_no_text", False) is True
        self._failures = count()

    @classmethod
    def around(cls, store: Store | None) -> FailOpenStore | None:
        """Wrap `store`, unless it is already wrapped or None. Raises `WrongType` if it is no store."""
        if store is not None and not (hasattr(type(store), "get") and hasattr(type(store), "__setitem__")):
            got = f"{store!r:.80} ({type(store).__name__})"
            raise WrongType(f"store must be a mapping such as a dict, a diskcache.Cache or a DiskStore, got {got}")
        return store if store is None or isinstance(store, FailOpenStore) else cls(store)

    def read(self, keys: Iterable[str]) -> dict[str, object]:
        """The entries that can be read. After three failures in a row, the rest is skipped."""
        return dict(self._tried(keys, self._store.get))

    def write(self, entries: Mapping[str, str]) -> None:
        """Store `entries`. After three failures in a row, the rest is skipped."""

        def keep(key: str) -> None:
            self._store[key] = entries[key]

        for _ in self._tried(entries, keep):
            pass

    def _tried(self, keys: Iterable[str], use: Callable[[str], object]) -> Iterator[tuple[str, object]]:
        """Each key with what `use` returns for it, without those for which the store fails."""
        failed = 0
        for key in keys:
            try:
                result = use(key)
            except Exception as error:  # a store may raise anything
                self._warn(error)
                failed += 1
                if failed == _FAILURES_IN_A_ROW:
                    return
            else:
                failed = 0
                yield key, result

    def get(self, key: str, /) -> object:
        """The entry, or None."""
        return self.read([key]).get(key)

    def __setitem__(self, key: str, entry: str, /) -> None:
        self.write({key: entry})

    def _warn(self, error: Exception) -> None:
        if next(self._failures) == 0:
            kind = type(error)
            details = f": {error}" if self._explained else f" ({kind.__module__}.{kind.__qualname__})"
            _log.warning(
                "the cache store %s failed%s; calls continue without it, and further failures are not logged",
                type(self._store).__name__,
                details,
            )
