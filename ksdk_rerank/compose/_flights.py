"""Single-flight: concurrent callers who need the same keys share one call, synchronous or asynchronous.

A caller's steps are written once, as a coroutine over a `Caller`. A `BlockingCaller` never suspends, so `run_blocking`
can run such a coroutine to its end without an event loop.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ksdk_rerank.base import Reranker
from ksdk_rerank.concurrency.locks import Lock
from ksdk_rerank.concurrency.worker import Worker
from ksdk_rerank.results import Ranking

__all__ = ["BlockingCaller", "Caller", "Flight", "Flights", "LoopCaller", "run_blocking"]

T = TypeVar("T")

_Found = dict[str, Ranking]


@dataclass(frozen=True, slots=True)
class Flight:
    """One caller's share of the missing keys.

    Attributes:
        keys: the keys that this caller computes.
        found: its results so far.
        others: the calls in progress that compute the rest. A future's result is empty if its call was cancelled and
            None if it failed.
    """

    keys: list[str]
    others: list[Future[_Found | None]]
    found: _Found = field(default_factory=dict)


class Flights:
    """Tracks which caller is computing which key.

    Nobody waits for a call that may never finish. A caller waits only for synchronous calls, which have a thread, and
    for calls on its own event loop. Another loop may have stopped, or be the one that the caller is blocking.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: dict[tuple[str, asyncio.AbstractEventLoop | None], Future[_Found | None]] = {}
        self._pid = os.getpid()

    @contextmanager
    def board(self, keys: Iterable[str], loop: asyncio.AbstractEventLoop | None, *, alone: bool) -> Iterator[Flight]:
        """Claim the `keys` that nobody else is computing, or all if `alone`. The end of the block releases them."""
        future: Future[_Found | None] = Future()
        future.set_running_or_notify_cancel()  # so that one waiting caller cannot cancel it for the others
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
    """How one caller calls a reranker, waits for others and accesses a disk."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop it runs on, or None."""

    async def rank(self, reranker: Reranker, query: str, documents: Sequence[str]) -> Ranking:
        """Call `reranker`."""

    async def wait(self, future: Future[T]) -> T:
        """Wait for another caller's result."""

    async def touch(self, work: Callable[[], T]) -> T:
        """Run `work`, which may have to wait for a disk."""


class BlockingCaller:
    """Does everything in the calling thread."""

    loop = None

    async def rank(self, reranker: Reranker, query: str, documents: Sequence[str]) -> Ranking:
        return reranker.rank(query, documents)

    async def wait(self, future: Future[T]) -> T:
        return future.result()

    async def touch(self, work: Callable[[], T]) -> T:
        return work()


class LoopCaller:
    """Awaits everything, and runs disk access on `worker` (None if there is no disk)."""

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
    """Run a coroutine that never suspends, and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a blocking call was suspended")
