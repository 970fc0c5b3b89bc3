"""A store of somebody else's, whose failures cost no answer."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Protocol

__all__ = ["Forgiving", "Store"]

_log = logging.getLogger("ksdk_rerank")

_FAILURES_IN_A_ROW = 3  # then the store is down, and asking on would only wait for each time-out


class Store(Protocol):
    """Where entries can be kept: a `diskcache.Cache`, a `dict`, or anything else that threads may share."""

    def get(self, key: str, /) -> object:
        """The entry, or None."""

    def __setitem__(self, key: str, entry: str, /) -> None:
        """Keep the entry."""


class Forgiving:
    """Reads and writes `store`: what it cannot read is a miss, and what it cannot write is not kept.

    One warning names the first error's class. What the error says may hold a text, so it is told only if the store has
    `errors_hold_no_text = True`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._explained = getattr(store, "errors_hold_no_text", False) is True
        self._failures = count()

    @classmethod
    def around(cls, store: Store | None) -> Forgiving | None:
        """`store` itself if it forgives already, and None if there is none."""
        return store if store is None or isinstance(store, Forgiving) else cls(store)

    def read(self, keys: Iterable[str]) -> dict[str, object]:
        """The entries that can be read. After a few failures in a row the rest is not tried."""
        found: dict[str, object] = {}
        failed = 0
        for key in keys:
            try:
                found[key] = self._store.get(key)
            except Exception as error:  # a store may raise anything
                self._tell(error)
                failed += 1
                if failed == _FAILURES_IN_A_ROW:
                    break
            else:
                failed = 0
        return found

    def write(self, entries: Mapping[str, str]) -> None:
        """Keep `entries`. After a few failures in a row the rest is not tried."""
        failed = 0
        for key, entry in entries.items():
            try:
                self._store[key] = entry
            except Exception as error:  # as above
                self._tell(error)
                failed += 1
                if failed == _FAILURES_IN_A_ROW:
                    break
            else:
                failed = 0

    def get(self, key: str, /) -> object:
        """The entry, or None."""
        return self.read([key]).get(key)

    def __setitem__(self, key: str, entry: str, /) -> None:
        self.write({key: entry})

    def _tell(self, error: Exception) -> None:
        if next(self._failures) == 0:
            kind = type(error)
            said = f": {error}" if self._explained else f" ({kind.__module__}.{kind.__qualname__})"
            _log.warning(
                "the store %s failed%s; answers that it cannot give are calculated, and this is told once",
                type(self._store).__name__,
                said,
            )
