"""`DiskStore`: a cache on disk, so that an evaluation resumes after an interruption without repeating calls."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar

from ksdk_rerank._arguments import flag
from ksdk_rerank._closing import Closing
from ksdk_rerank.concurrency.locks import Lock
from ksdk_rerank.errors import MissingExtra

__all__ = ["DiskStore", "user_cache_folder"]

_FILE = "answers.sqlite3"
_inherited: list[object] = []
"""Connections that a parent process opened. Closing them here would release the parent's locks, so they stay referenced
(https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_across_a_fork_, read 2026-11-26)."""

_PATIENCE = 30.0  # seconds that a process waits for a lock
_START = (
    "PRAGMA journal_mode = WAL",  # without it, each write waits about 20 ms for the disk
    "PRAGMA synchronous = NORMAL",
    "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, entry TEXT) WITHOUT ROWID",
)
_READ = ("SELECT key FROM entries LIMIT 1",)


class DiskStore(Closing):
    """A cache on disk, in one SQLite file that threads and processes can share.

    `evaluate(..., store=DiskStore(folder))` caches each reranker's answers and their times. `ksdk-rerank compare` also
    caches the candidates with their texts. Each entry is written before the next call. `Cached(..., store=...)` accepts
    a `DiskStore` as well. Keys are hashes, and the file never contains an API key.

    A copy or pickle opens the file for itself. Processes wait up to 30 seconds for each other. If the file cannot be
    written, because the disk is full or read-only, it is still read.

    Args:
        folder: the folder that holds the file, created on first use and private to this user. None means the user's
            cache folder, by the platform's conventions.
        read: whether to look up existing entries. With False every lookup is a miss, and new answers are stored.

    Raises, on use:
        OSError: the file cannot be read or written, is damaged, or is not a cache. `evaluate`, `Cached` and the
            commands treat this as a miss and warn once.
        MissingExtra: no folder was given and `platformdirs` is not installed.
    """

    errors_hold_no_text: ClassVar[bool] = True
    """Whether warnings may quote the store's errors. They name the file and what to do, but no text."""

    def __init__(self, folder: Path | str | None = None, *, read: bool = True) -> None:
        self.folder = folder
        self.read = flag("read", read)
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0

    def get(self, key: str) -> str | None:
        """The entry, or None."""
        if not self.read:
            return None
        with self._database() as database:
            row = database.execute("SELECT entry FROM entries WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def __setitem__(self, key: str, entry: str) -> None:
        with self._database() as database:
            database.execute("INSERT OR REPLACE INTO entries (key, entry) VALUES (?, ?)", (key, entry))

    def __delitem__(self, key: str) -> None:
        with self._database() as database:
            database.execute("DELETE FROM entries WHERE key = ?", (key,))

    def close(self) -> None:
        """Close the file. The next use of the store reopens it."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            folder = user_cache_folder() if self.folder is None else Path(self.folder)
            file = folder / _FILE
            if self._pid != os.getpid():  # a forked child must not use its parent's SQLite connections
                _inherited.append(self._connection)
                self._connection, self._pid = None, os.getpid()
            try:
                if self._connection is None:
                    self._connection = _opened(file)
                yield self._connection
            except sqlite3.Error as error:
                advice = "free some space" if isinstance(error, sqlite3.OperationalError) else "delete it"
                raise OSError(
                    f"{file} cannot be used as a cache ({error}); name another folder, or {advice}"
                ) from error

    def __reduce__(self) -> tuple[object, ...]:
        return partial(type(self), self.folder, read=self.read), ()

    def __repr__(self) -> str:
        return f"DiskStore({str(self.folder)!r})" if self.folder is not None else "DiskStore()"


def _opened(file: Path) -> sqlite3.Connection:
    """Open the file for reading and writing, or for reading only if it cannot be written.

    SQLite's timeout does not cover everything: if two processes switch a new file to WAL or recover the log, one fails
    at once with "locked". So this function retries.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return _connected(file)
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.01, 0.1))


def _connected(file: Path) -> sqlite3.Connection:
    address = file.absolute().as_uri()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _prepared(address, _START)
    except (sqlite3.OperationalError, OSError) as error:
        if (isinstance(error, sqlite3.Error) and _is_busy(error)) or not file.exists():
            raise
        unwritable = error
    # "immutable" needs no lock and no log beside the file, neither of which a read-only folder can hold
    for options in ("mode=ro", "mode=ro&immutable=1"):
        try:
            return _prepared(f"{address}?{options}", _READ)
        except sqlite3.OperationalError:
            continue
    raise unwritable


def _prepared(address: str, statements: Sequence[str]) -> sqlite3.Connection:
    connection = sqlite3.connect(address, uri=True, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        for statement in statements:
            connection.execute(statement).fetchall()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _is_busy(error: sqlite3.Error) -> bool:
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def user_cache_folder() -> Path:
    """The package's folder in the user's cache: below `~/.cache`, `~/Library/Caches` or `%LOCALAPPDATA%`."""
    try:
        from platformdirs import user_cache_path
    except ImportError as error:
        raise MissingExtra.of("evaluate", "DiskStore() without a folder") from error
    return user_cache_path("ksdk-rerank", appauthor=False)
