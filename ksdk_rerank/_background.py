"""An event loop on a thread of its own, so that synchronous calls run the same code as asynchronous ones.

One implementation of retries and deadlines serves both, and a synchronous call can be cut off at its deadline
wherever it stands, which blocking sockets do not allow (they bound each read, not their sum, and no name lookup).
Unlike `asyncio.run` it also works where a loop is running already, as in a notebook.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["run_in_background"]

T = TypeVar("T")


class _BackgroundLoop:
    def __init__(self) -> None:
        self.pid = os.getpid()
        ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="ksdk-rerank-http", daemon=True)
        self._thread.start()
        self.loop, self._stop = ready.result()

    def _run(self, ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        # As asyncio.run does, but for the loop's executor: shutting that down starts a thread, which Python 3.12
        # refuses while it exits.
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(self._main(ready))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    @staticmethod
    async def _main(ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        stop = asyncio.Event()
        ready.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()

    def stop(self) -> None:
        """End the loop, which closes the connections that were opened on it."""
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=2.0)


_lock = threading.Lock()
_background: _BackgroundLoop | None = None


def run_in_background(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` on the background loop and wait for its result; an interrupted wait cancels it."""
    global _background
    with _lock:
        if _background is None or _background.pid != os.getpid():  # a forked child has no such thread
            _background = _BackgroundLoop()
        loop = _background.loop
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


@atexit.register
def _stop_at_exit() -> None:
    if _background is not None and _background.pid == os.getpid():
        _background.stop()
