"""`Worker`: dedicated threads for one local model. Calls queue up instead of competing for the processor."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from ksdk_rerank.concurrency.locks import Lock

__all__ = ["Worker", "pause_at_exit"]

T = TypeVar("T")

_EXIT_PATIENCE = 5.0
"""Seconds the process waits at exit for running work: engines abort if they are unloaded while in use."""
_EXIT_PAUSE = 1.0
"""Seconds after that wait during which no work starts. A process still running by then needs the work."""


class Worker:
    """One or a few dedicated threads that run queued work in order.

    Work never runs on the event loop or its default executor, because applications need both for other things. The
    threads start on demand. A forked child starts its own, since its parent's threads do not exist there.

    Threads that outlive the main thread can still submit work. `ThreadPoolExecutor` would refuse it, because Python
    shuts down all executors as soon as the main thread ends. If Python can no longer start a thread, `submit` runs the
    work itself.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self.threads = threads
        self.name = name
        self._lock = Lock()
        self._crew: _Crew | None = None

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queue `work`. Cancelling the future removes it from the queue, unless it has started."""
        future: Future[T] = Future()
        with self._lock:
            if self._crew is None or not self._crew.usable:
                self._crew = _Crew(self)
            queued = self._crew.put(future, work)
        if not queued:
            _do(future, work)
        return future

    def run(self, work: Callable[[], T]) -> T:
        """Queue `work` and wait for its result."""
        return self.submit(work).result()

    async def arun(self, work: Callable[[], T]) -> T:
        """Queue `work` and await its result. Cancelling the await removes it from the queue, unless it has started."""
        return await asyncio.wrap_future(self.submit(work))

    def close(self, *, cancel: bool = False) -> None:
        """End the threads when they run out of work. With `cancel`, work that has not started is cancelled."""
        if (crew := self._detached()) is not None:
            crew.end(cancel=cancel)

    def drain(self) -> None:
        """Wait for all queued work, including work that it submits itself, then end the threads."""
        while (crew := self._detached()) is not None:
            crew.end(cancel=False)
            for thread in crew.threads:
                thread.join()

    def _detached(self) -> _Crew | None:
        """Take the threads away from this worker. None if there are none, or they belong to a parent process."""
        with self._lock:
            crew, self._crew = self._crew, None
        if crew is None or not crew.usable:
            return None
        crew.finalizer.detach()
        return crew


class _Crew:
    """The threads of one worker in one process, and their shared queue.

    They are daemon threads, because Python waits at exit for all others.
    """

    def __init__(self, worker: Worker) -> None:
        self.threads: list[threading.Thread] = []
        self.pid = os.getpid()
        self.finalizer = weakref.finalize(worker, self.end)  # if the worker is garbage-collected
        self.finalizer.atexit = False
        self._name = worker.name
        self._limit = worker.threads
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._idle = 0
        self._ended = False

    @property
    def usable(self) -> bool:
        """Whether the threads belong to this process and still accept work."""
        return self.pid == os.getpid() and not self._ended

    def put(self, future: Future[Any], work: Callable[[], Any]) -> bool:
        """Queue `work` for a thread. False if the threads have ended, or there are none and none can start."""
        with self._changed:
            if self._ended or (self._idle <= len(self._waiting) and not self._start_one() and not self.threads):
                return False
            self._waiting.append((future, work))
            self._changed.notify()
            return True

    def _start_one(self) -> bool:
        """Start one more thread. False if the limit is reached or Python starts no more."""
        if len(self.threads) == self._limit:
            return False
        thread = threading.Thread(target=self._run, name=f"{self._name}_{len(self.threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # 3.12.0 to 3.12.2 refuse after the main thread ends, all versions during exit
            return False
        self.threads.append(thread)
        return True

    def _run(self) -> None:
        while self._work():
            pass

    def _work(self) -> bool:
        """Wait for one piece of work and run it. False if there will be no more.

        Not part of `_run`, so that an idle thread keeps nothing of its last work alive.
        """
        with self._changed:
            self._idle += 1
            while not self._waiting and not self._ended:
                self._changed.wait()
            self._idle -= 1
            if not self._waiting:
                return False
            future, work = self._waiting.popleft()
        me = (os.getpid(), threading.get_ident())
        try:
            _at_work.add(me)
            pause_at_exit()
            _do(future, work)
        finally:
            _at_work.discard(me)
        return True

    def end(self, *, cancel: bool = True) -> None:
        """End the threads when they run out of work. With `cancel`, work that has not started is cancelled."""
        if self.pid != os.getpid():
            return  # the lock may have been held when this process was forked
        with self._changed:
            self._ended = True
            waiting = list(self._waiting) if cancel else []
            if cancel:
                self._waiting.clear()
            self._changed.notify_all()
        for future, _ in waiting:
            future.cancel()


def _do(future: Future[T], work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:
        future.set_exception(error)
        del future  # breaks a cycle: the future holds the error, whose traceback holds this frame
    else:
        future.set_result(result)


_at_work: set[tuple[int, int]] = set()  # threads that are running work, as (process id, thread id)
_rest_until = 0.0


def pause_at_exit() -> None:
    """Pause if the process is about to exit. Long-running work calls this between its steps."""
    me = (os.getpid(), threading.get_ident())
    if time.monotonic() < _rest_until and me in _at_work:
        _at_work.discard(me)
        while time.monotonic() < _rest_until:
            time.sleep(0.01)
        _at_work.add(me)


@atexit.register
def _rest_at_exit() -> None:
    """Make sure that no work is running while Python shuts down. Only daemon threads can still submit any."""
    global _rest_until
    deadline = _rest_until = time.monotonic() + _EXIT_PATIENCE
    while time.monotonic() < deadline and any(pid == os.getpid() for pid, _ in list(_at_work)):
        time.sleep(0.002)
    _rest_until = time.monotonic() + _EXIT_PAUSE
