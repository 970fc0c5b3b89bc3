"""Runs one reranker on all queries: times each call, caches each ranking, and reports failures."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Sequence

from ksdk_rerank._fingerprint import digest, identity
from ksdk_rerank.base import Reranker, with_members
from ksdk_rerank.compose._cache_entries import Entry, decoded, encoded
from ksdk_rerank.compose._fail_open import FailOpenStore, Store
from ksdk_rerank.errors import (
    InvalidEnvironment,
    MissingExtra,
    MissingKey,
    ModelError,
    NotFound,
    QuotaExceeded,
    Redirected,
    Unauthorized,
)
from ksdk_rerank.models import folder_of
from ksdk_rerank.results import Failure, Ranking

__all__ = ["Call", "Outcome", "run"]

Call = tuple[str, Sequence[str]]
"""What `rank` is called with: a query and documents."""

Outcome = Entry | Failure | None
"""The ranking of a call and its time, or why it failed, or None if it was not made."""

_HOPELESS = (MissingExtra, MissingKey, NotFound, Redirected, Unauthorized, InvalidEnvironment, QuotaExceeded)
_FAILURES_IN_A_ROW = 3  # then the service is probably down, and more calls would only wait for their deadlines


def run(reranker: Reranker, calls: Sequence[Call], store: Store | None) -> Iterator[Outcome]:
    """Call `reranker` with each of `calls`, one after the other: `rank_many` would not time each call.

    Rankings in `store` are not computed again; a store that fails costs only a warning. Three errors in a row, or one
    that would affect every query, stop all further calls. Rankings from `store` still count after that.
    """
    cache = _Cache(reranker, store)
    first, failed_in_a_row, given_up = True, 0, False
    for query, documents in calls:
        outcome: Outcome = cache.get(query, documents) if documents else Entry(Ranking((), reranker.name))
        if outcome is None and not given_up:
            started = time.perf_counter()
            try:
                ranking = reranker.rank(query, documents)
            except Exception as error:  # a third party's reranker may raise anything; that fails its row, not the run
                outcome = Failure(reranker.name, type(error).__name__, str(error))
                failed_in_a_row += 1
                given_up = _is_hopeless(error) or failed_in_a_row == _FAILURES_IN_A_ROW
            else:
                outcome = Entry(ranking, time.perf_counter() - started, first)
                failed_in_a_row = 0
                cache.put(query, documents, outcome)
            first = False
        yield outcome


def _is_hopeless(error: Exception) -> bool:
    """Whether every other query would fail, too. A model that fails at run time may succeed on another query."""
    return isinstance(error, _HOPELESS) or (isinstance(error, ModelError) and not error.transient)


class _Cache:
    """One reranker's rankings and their times in `store`."""

    def __init__(self, reranker: Reranker, store: Store | None) -> None:
        self._store = FailOpenStore.around(store)
        self._who = ""
        if store is not None:
            # A parameter without a fingerprint, such as the user's own HTTP client, never matches another process.
            self._who = digest(identity(reranker, uuid.uuid4().hex), *_model_files(reranker))

    def get(self, query: str, documents: Sequence[str]) -> Entry | None:
        return None if self._store is None else decoded(self._store.get(self._key(query, documents)), documents)

    def put(self, query: str, documents: Sequence[str], entry: Entry) -> None:
        if self._store is not None and not entry.ranking.failures:
            self._store[self._key(query, documents)] = encoded(entry)

    def _key(self, query: str, documents: Sequence[str]) -> str:
        return digest("ranking", self._who, *(text.encode(errors="replace").decode() for text in (query, *documents)))


def _model_files(reranker: Reranker) -> Iterator[str]:
    """Name, size and time of each file of bundled and local models, so that replaced weights miss the cache."""
    parameters = (value for each in with_members(reranker) for value in each.identifying_parameters().values())
    for value in parameters:
        if not isinstance(value, (str, os.PathLike)):
            continue
        try:
            folder = folder_of(value)
            files = sorted(folder.rglob("*")) if (folder / "config.json").is_file() else []
            states = [(file, file.stat()) for file in files]
        except (OSError, ValueError, RuntimeError):  # unreadable folder, null character in its name, unknown user
            continue
        yield from (f"{file} {state.st_size} {state.st_mtime_ns}" for file, state in states)
