"""One call for all who ask the same at the same time, and the two ways to make and await it.

What a caller does is written once, as a coroutine over a `Caller`. A `BlockingCaller` never suspends, so that
`run_blocking` can run such a coroutine to its end without an event loop.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ksdk_rerank._locks import Lock
from ksdk_rerank.base import Reranker
from ksdk_rerank.results import Ranking
from ksdk_rerank.worker import Worker

__all__ = ["BlockingCaller", "Caller", "Flight", "Flights", "LoopCaller", "run_blocking"]

T = TypeVar("T")

_Found = dict[str, Ranking]


@dataclass(frozen=True, slots=True)
class Flight:
    """One caller's part in finding out what is missing.

    Attributes:
        keys: what this caller is to find out.
        found: where it puts that.
        others: the calls under way that find out the rest: theirs, empty if cancelled, None if failed.
    """

    keys: list[str]
    others: list[Future[_Found | None]]
    found: _Found = field(default_factory=dict)


class Flights:
    """Who is finding out what, by key.

    Nobody waits for a call that may never go on: only for synchronous ones, which have a thread, and for those on the
    caller's own event loop. Another loop may have stopped, or be the one that the caller is blocking.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: dict[tuple[str, asyncio.AbstractEventLoop | None], Future[_Found | None]] = {}
        self._pid = os.getpid()

    @contextmanager
    def board(self, keys: Iterable[str], loop: asyncio.AbstractEventLoop | None, *, alone: bool) -> Iterator[Flight]:
        """Take on those of `keys` that nobody is finding out yet, or all of them if `alone`; land at the end."""
        future: Future[_Found | None] = Future()
        future.set_running_or_notify_cancel()  # one that waits cannot cancel it for the others
        flight = Flight([], [])
        with self._lock:
            if self._pid != os.getpid():  # a forked child has none of its parent's threads
                self._open.clear()
                self._pid = os.getpid()
            for key in keys:
                other = self._open.get((key, loop)) or self._open.get((key, None))
                if other is None or alone:
                    flight.keys.append(key)
                    self._open.setdefault((key, loop), future)
                elif other not in flight.others:
                    flight.others.append(other)
        result: _Found | None = {}
        try:
            yield flight
            result = flight.found
        except Exception:
            result = None
            raise
        finally:
            with self._lock:
                for key in flight.keys:
                    if self._open.get((key, loop)) is future:
                        del self._open[key, loop]
            future.set_result(result)


class Caller(Protocol):
    """How one caller asks, waits and touches a disk."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop it is on."""

    async def rank(self, reranker: Reranker, query: str, documents: Sequence[str]) -> Ranking:
        """Ask `reranker`."""

    async def wait(self, future: Future[T]) -> T:
        """Wait for another caller."""

    async def touch(self, work: Callable[[], T]) -> T:
        """Do what may take the time of a disk."""


class BlockingCaller:
    """Does everything in the caller's thread."""

    loop = None

    async def rank(self, reranker: Reranker, query: str, documents: Sequence[str]) -> Ranking:
        return reranker.rank(query, documents)

    async def wait(self, future: Future[T]) -> T:
        return future.result()

    async def touch(self, work: Callable[[], T]) -> T:
        return work()


class LoopCaller:
    """Awaits everything, and leaves disks to `worker`; None where there is no disk."""

    def __init__(self, worker: Worker | None) -> None:
        self.loop = asyncio.get_running_loop()
        self._worker = worker

    async def rank(self, reranker: Reranker, query: str, documents: Sequence[str]) -> Ranking:
        return await reranker.arank(query, documents)

    async def wait(self, future: Future[T]) -> T:
        return await asyncio.wrap_future(future)

    async def touch(self, work: Callable[[], T]) -> T:
        return work() if self._worker is None else await self._worker.arun(work)


def run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a blocking call was suspended")
