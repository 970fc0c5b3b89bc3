"""Threads of its own for one local model: calls wait in line instead of fighting for the processor."""

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

from ksdk_rerank._locks import Lock

__all__ = ["Worker", "pause_at_exit"]

T = TypeVar("T")

_EXIT_PATIENCE = 5.0
"""Seconds that the process waits at its end for work that has begun: engines abort when they are unloaded in use."""
_EXIT_PAUSE = 1.0
"""Seconds for which no work is begun after that. If the process is still there by then, somebody needs the work."""


class Worker:
    """A thread of its own, or a few, that take up one piece of work after another.

    Work never runs on the event loop nor on its default executor, which applications need for other things. The
    threads start when needed and anew in a forked child, where its parent's threads do not exist.

    Threads that outlive the main thread can use it. `ThreadPoolExecutor` refuses them: Python shuts down every one of
    those as soon as the main thread has ended. If Python starts no thread any more, `submit` does the work itself.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self.threads = threads
        self._name = name
        self._lock = Lock()
        self._crew: _Crew | None = None

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Put `work` in the queue. Cancelling the future takes it out again, unless it has begun."""
        future: Future[T] = Future()
        with self._lock:
            if self._crew is None or not self._crew.usable:
                self._crew = _Crew(self._name, self.threads)
                self._crew.unowned = weakref.finalize(self, self._crew.end)
                self._crew.unowned.atexit = False
            crew = self._crew
            queued = crew.put(future, work)
        if not queued:
            _do(future, work)
        return future

    def run(self, work: Callable[[], T]) -> T:
        """Wait for `work` to be done."""
        return self.submit(work).result()

    async def arun(self, work: Callable[[], T]) -> T:
        """Await `work`; a cancelled await takes it out of the queue."""
        return await asyncio.wrap_future(self.submit(work))

    def close(self) -> None:
        """End the threads once the work that has begun is done; waiting work is cancelled."""
        if (crew := self._detached()) is not None:
            crew.end()

    def drain(self) -> None:
        """Wait for all work, including what it submits in turn, and end the threads."""
        while (crew := self._detached()) is not None:
            crew.end(cancel=False)
            for thread in crew.threads:
                thread.join()

    def _detached(self) -> _Crew | None:
        """The threads, which are forgotten; None if there are none, or only a parent process's."""
        with self._lock:
            crew, self._crew = self._crew, None
        if crew is None or not crew.usable:
            return None
        crew.unowned.detach()
        return crew


class _Crew:
    """The threads of one worker in one process, and the queue they share.

    They are daemons, because Python would wait for all others to end.
    """

    unowned: weakref.finalize[..., Worker]
    """Ends the threads if their worker is garbage-collected."""

    def __init__(self, name: str, limit: int) -> None:
        self.threads: list[threading.Thread] = []
        self.pid = os.getpid()
        self._name = name
        self._limit = limit
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._idle = 0
        self._ended = False

    @property
    def usable(self) -> bool:
        """Whether these are threads of this process, and go on."""
        return self.pid == os.getpid() and not self._ended

    def put(self, future: Future[Any], work: Callable[[], Any]) -> bool:
        """Leave `work` to a thread; False if there is none and none can be started."""
        with self._changed:
            if self._ended or (self._idle <= len(self._waiting) and not self._started() and not self.threads):
                return False
            self._waiting.append((future, work))
            self._changed.notify()
            return True

    def _started(self) -> bool:
        """Start one more thread, if there may be one."""
        if len(self.threads) == self._limit:
            return False
        thread = threading.Thread(target=self._run, name=f"{self._name}_{len(self.threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # Python 3.12.0 and 3.12.1 refuse once the main thread has ended, all while they exit
            return False
        self.threads.append(thread)
        return True

    def _run(self) -> None:
        while self._work():
            pass

    def _work(self) -> bool:
        """Do one piece of work, or wait for one; False at the end."""
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
        """Let the threads end once they have nothing to do, and take back what none of them has begun."""
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
        del future  # a cycle: it holds the error, whose traceback holds this frame
    else:
        future.set_result(result)


_at_work: set[tuple[int, int]] = set()  # threads, by their process and their own id
_rest_until = 0.0


def pause_at_exit() -> None:
    """Rest if the process is about to end. Long work calls this between its pieces."""
    me = (os.getpid(), threading.get_ident())
    if time.monotonic() < _rest_until and me in _at_work:
        _at_work.discard(me)
        while time.monotonic() < _rest_until:
            time.sleep(0.01)
        _at_work.add(me)


@atexit.register
def _rest_at_exit() -> None:
    """See to it that no work is under way while Python is taken down. Only daemon threads are left to ask for any."""
    global _rest_until
    deadline = _rest_until = time.monotonic() + _EXIT_PATIENCE
    while time.monotonic() < deadline and any(pid == os.getpid() for pid, _ in list(_at_work)):
        time.sleep(0.002)
    _rest_until = time.monotonic() + _EXIT_PAUSE
