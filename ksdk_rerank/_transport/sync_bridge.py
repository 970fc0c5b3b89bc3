"""Runs synchronous calls on a background event loop, so that they share the code of asynchronous ones.

One implementation of retries and deadlines serves both. The deadline can also cut off a synchronous call at any
point. Blocking sockets cannot do this: a socket timeout limits each read, but neither the total nor name lookups.
Unlike `asyncio.run`, this works while another loop is running, as in a notebook.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor, thread
from functools import partial
from typing import Any, TypeVar

from ksdk_rerank.concurrency.locks import Lock
from ksdk_rerank.concurrency.worker import Worker
from ksdk_rerank.errors import ConnectionFailed

__all__ = ["run_in_background", "run_where_names_resolve"]

T = TypeVar("T")

_LOOKUPS = 16  # concurrent name lookups


class _Lookups(ThreadPoolExecutor):
    """Executor for the loop's name lookups. Python shuts down the default executor as soon as the main thread ends."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        return _lookups.submit(partial(fn, *args, **kwargs))


_lookups = Worker("ksdk-rerank-lookup", _LOOKUPS)


class _BackgroundLoop:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop, self._stop = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(
            target=lambda: _run(self.loop, _until(self._stop)), name="ksdk-rerank-http", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError:
            self.loop.close()
            raise

    def stop(self) -> None:
        """End the loop once its calls are done; this closes its connections. Waits for two seconds at most."""
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=2.0)


def _run(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    # Like asyncio.run, but without shutting down the loop's executor: that would start a thread, which Python 3.12
    # refuses during shutdown.
    loop.set_default_executor(_Lookups())
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()
    while calls := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(calls)


_lock = Lock()
_background: _BackgroundLoop | None = None


def run_in_background(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` on the background loop and wait for its result. An interrupt cancels the coroutine.

    Raises `ConnectionFailed` if the process has no file descriptor left for that loop.
    """
    try:
        loop = _loop()
    except OSError as error:
        coroutine.close()
        raise ConnectionFailed(
            f"no connection can be opened ({error}); close files and connections, or raise their limit (ulimit -n)"
        ) from error
    if loop is None:
        return _run(asyncio.new_event_loop(), coroutine)
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def run_where_names_resolve(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` on this loop, or on the background loop if this one can no longer look up names.

    asyncio looks up names in a `ThreadPoolExecutor`, which refuses work once the main thread has ended.
    """
    refused: bool = getattr(thread, "_shutdown", False)
    loop = _loop() if refused else None
    if loop in (None, asyncio.get_running_loop()):
        return await coroutine
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))


def _loop() -> asyncio.AbstractEventLoop | None:
    """The background loop; None if Python can no longer start a thread for it."""
    global _background
    with _lock:
        if _background is None or _background.pid != os.getpid():  # a forked child has no such thread
            try:
                _background = _BackgroundLoop()
            except RuntimeError:
                return None
        return _background.loop


@atexit.register
def _stop_at_exit() -> None:
    global _background
    stopped, _background = _background, None  # a later exit handler may start a new one
    if stopped is not None and stopped.pid == os.getpid():
        stopped.stop()
