"""Threads of its own for one local model: calls wait in line instead of fighting for the processor."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["Worker"]

T = TypeVar("T")


class Worker:
    """A thread of its own, or a few, that take up one piece of work after another.

    Work never runs on the event loop nor on its default executor, which applications need for other things. The
    threads start when needed and anew in a forked child, where its parent's threads do not exist.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self.threads = threads
        self._name = name
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._pid = 0

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Put `work` in the queue. Cancelling the future takes it out again, unless it has begun."""
        with self._lock:
            if self._executor is None or self._pid != os.getpid():
                self._executor = ThreadPoolExecutor(max_workers=self.threads, thread_name_prefix=self._name)
                self._pid = os.getpid()
            return self._executor.submit(work)

    def run(self, work: Callable[[], T]) -> T:
        """Wait for `work` to be done."""
        return self.submit(work).result()

    async def arun(self, work: Callable[[], T]) -> T:
        """Await `work`; a cancelled await takes it out of the queue."""
        return await asyncio.wrap_future(self.submit(work))

    def close(self) -> None:
        """End the threads once the work that has begun is done; waiting work is cancelled."""
        executor = self._detached()
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)

    def drain(self) -> None:
        """Wait for all work, also for what it submits in its turn, and end the threads."""
        while (executor := self._detached()) is not None:
            executor.shutdown(wait=True)

    def _detached(self) -> ThreadPoolExecutor | None:
        """The executor, which is forgotten; None where there is none, or only a parent process's."""
        with self._lock:
            executor, self._executor = self._executor, None
        return executor if self._pid == os.getpid() else None
