"""Locks that are free in a forked child, with the data they guard intact.

A child has only the thread that forked. A lock held by another thread at that moment would stay locked in the child
forever, and the data it guards could be half changed. So a fork waits until no other thread holds one of these locks,
and the child gets new ones.

Python's own import locks have the same problem: a child that imports what another thread was importing would wait
forever. Much of this library is imported on first use, so a fork also waits for other threads' imports to end.
"""

from __future__ import annotations

# Hooks before a fork run in reverse order of their registration. `logging` and this module of `concurrent.futures`
# hold their own locks from their hook on, and other threads' imports may need them. So theirs have to come after ours.
import logging  # noqa: F401
import os
import threading
import time
import weakref
from concurrent.futures import thread  # noqa: F401
from importlib import _bootstrap

__all__ = ["Lock"]

_PATIENCE = 0.25
"""Maximum seconds that a fork waits for one lock. Locks are held for microseconds, except one while a model loads, and
a child loads its own."""

_IMPORT_PATIENCE = 10.0
"""Maximum seconds that a fork waits for imports: torch takes several."""


class Lock:
    """A lock for a `with` block. Hold it briefly, and never two at a time."""

    def __init__(self) -> None:
        self.inner = threading.Lock()
        _locks.add(weakref.ref(self, _locks.discard))

    def __enter__(self) -> None:
        self.inner.acquire()

    def __exit__(self, *_: object) -> None:
        self.inner.release()


_locks: set[weakref.ref[Lock]] = set()
_held: dict[int, list[threading.Lock]] = {}  # locks acquired by forking threads, by thread id


def _all() -> list[Lock]:
    """All existing locks in one fixed order, so that two threads that fork do not wait for each other."""
    return sorted((lock for reference in list(_locks) if (lock := reference()) is not None), key=id)


def _others_import() -> bool:
    """Whether another thread is importing a module, judging by CPython's per-module locks (3.11 to 3.14)."""
    locks = [reference() for reference in list(getattr(_bootstrap, "_module_locks", {}).values())]
    return any(getattr(lock, "owner", None) not in (None, threading.get_ident()) for lock in locks)


def _before_fork() -> None:
    deadline = time.monotonic() + _IMPORT_PATIENCE
    while _others_import() and time.monotonic() < deadline:
        time.sleep(0.001)
    inner = [lock.inner for lock in _all()]
    _held[threading.get_ident()] = [lock for lock in inner if lock.acquire(timeout=_PATIENCE)]


def _after_fork_in_parent() -> None:
    for inner in _held.pop(threading.get_ident(), ()):
        inner.release()


def _after_fork_in_child() -> None:
    _held.clear()
    for lock in _all():
        lock.inner = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
