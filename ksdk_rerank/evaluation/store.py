"""`DiskStore`: answers on disk, so that an evaluation goes on where it stopped and asks nothing twice."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ksdk_rerank._closing import Closing
from ksdk_rerank._locks import Lock
from ksdk_rerank.errors import MissingExtra

__all__ = ["DiskStore", "user_cache_folder"]

_FILE = "answers.sqlite3"
_inherited: list[object] = []
"""Connections that a parent process opened (https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_across_
a_fork_, read 2026-11-26)."""


class DiskStore(Closing):
    """Entries in a folder: one SQLite file, which several processes may share.

    `evaluate(..., store=DiskStore(folder))` keeps in it what each reranker said and how long it took, `ksdk-rerank
    compare` the candidates too, with their texts. Keys are hashes, and no API key is ever in it. Each entry is written
    before the next question is asked. `Cached(..., store=...)` takes one as well.

    Args:
        folder: where the file is; made on first use, for this user alone. The user's own cache folder where None, by
            the platform's conventions.
        read: whether what is there is looked up. False asks everything again and keeps the new answers.

    Raises, on use:
        OSError: the file cannot be read or written, or is none of ours.
        MissingExtra: no folder was given and `platformdirs` is not installed.
    """

    def __init__(self, folder: Path | str | None = None, *, read: bool = True) -> None:
        self.folder = folder
        self.read = read
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._pid = os.getpid()

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
        """Close the file. Using the store again opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            folder = user_cache_folder() if self.folder is None else Path(self.folder)
            try:
                if self._pid != os.getpid():  # neither to be used in a forked child nor to be closed there
                    _inherited.append(self._connection)
                    self._connection, self._pid = None, os.getpid()
                if self._connection is None:
                    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                    self._connection = _opened(folder / _FILE)
                yield self._connection
            except sqlite3.Error as error:
                raise OSError(f"{folder / _FILE} cannot be used as a cache ({error}); name another folder") from error

    def __repr__(self) -> str:
        return f"DiskStore({str(self.folder)!r})" if self.folder is not None else "DiskStore()"


def _opened(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=10.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")  # without it each entry waits for the disk, about 20 ms
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, entry TEXT) WITHOUT ROWID")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def user_cache_folder() -> Path:
    """Where this user's caches are: `~/.cache`, `~/Library/Caches` or `%LOCALAPPDATA%`, and below that ours."""
    try:
        from platformdirs import user_cache_path
    except ImportError as error:
        raise MissingExtra.of("evaluate", "DiskStore() without a folder") from error
    return user_cache_path("ksdk-rerank", appauthor=False)
