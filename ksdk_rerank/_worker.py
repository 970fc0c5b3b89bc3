"""One thread for one local model: calls wait in line instead of fighting for the processor."""

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
    """A thread of its own that runs one piece of work after another.

    Work never runs on the event loop nor on its default executor, which applications need for other things. The
    thread starts at the first call and anew in a forked child, where its parent's thread does not exist.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._pid = 0

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Put `work` in the queue. Cancelling the future takes it out again, unless it has begun."""
        with self._lock:
            if self._executor is None or self._pid != os.getpid():
                self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=self._name)
                self._pid = os.getpid()
            return self._executor.submit(work)

    def run(self, work: Callable[[], T]) -> T:
        """Wait for `work` to be done."""
        return self.submit(work).result()

    async def arun(self, work: Callable[[], T]) -> T:
        """Await `work`; a cancelled await takes it out of the queue."""
        return await asyncio.wrap_future(self.submit(work))

    def close(self) -> None:
        """End the thread once the work that has begun is done; waiting work is cancelled."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None and self._pid == os.getpid():
            executor.shutdown(wait=False, cancel_futures=True)
