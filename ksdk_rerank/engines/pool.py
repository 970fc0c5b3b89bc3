"""One copy of the weights for each process and configuration, however many rerankers use it."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from ksdk_rerank._locks import Lock
from ksdk_rerank.base import Scores
from ksdk_rerank.engines.engine import Settings
from ksdk_rerank.engines.hardware import streams_and_threads
from ksdk_rerank.engines.scheduler import Scheduler
from ksdk_rerank.errors import TimedOut
from ksdk_rerank.worker import Worker

if TYPE_CHECKING:
    from ksdk_rerank.engines.scoring import Model

__all__ = ["SharedModel", "acquire", "release"]

T = TypeVar("T")


class SharedModel:
    """A model and the threads that alone load it, use it and let it go.

    It is loaded once however many calls wait for it, and not let go of while in use.
    """

    def __init__(self, settings: Settings) -> None:
        streams, _ = streams_and_threads()
        self.worker = Worker("ksdk-rerank-model", streams)
        self.holders: weakref.WeakSet[object] = weakref.WeakSet()
        self._scheduler = Scheduler(self.worker, self._loaded, settings.model)
        self._settings = settings
        self._loading = Lock()
        self._model: Model | None = None

    def score(
        self, query: str, documents: Sequence[str], *, seconds: float | None = None, max_waiting: int | None = None
    ) -> Scores:
        """Wait for the scores, for `seconds` at most; interrupted, the call leaves the queue.

        Raises:
            TimedOut: they were not there in time.
            Overloaded: `max_waiting` calls wait already.
        """
        return self._wait(self._scheduler.join(query, documents, max_waiting), seconds)

    async def ascore(
        self, query: str, documents: Sequence[str], *, seconds: float | None = None, max_waiting: int | None = None
    ) -> Scores:
        """Await the scores, as `score` waits for them; cancelled, the call leaves the queue."""
        future = self._scheduler.join(query, documents, max_waiting)
        try:
            async with asyncio.timeout(seconds) as deadline:
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if not deadline.expired():
                raise
            future.cancel()
            raise self._timed_out(seconds) from None

    def model(self, seconds: float | None = None) -> Model:
        """The model, which is loaded first where it is not; `TimedOut` if that takes longer than `seconds`."""
        return self._model or self._wait(self.worker.submit(self._loaded), seconds)

    def close(self) -> None:
        """Wait for the calls that are under way, and let the weights go."""
        self.worker.drain()
        self._model = None

    async def aclose(self) -> None:
        """Like `close`, without blocking the event loop."""
        closer = Worker("ksdk-rerank-close")
        try:
            await closer.arun(self.close)
        finally:
            closer.close()

    def _wait(self, future: Future[T], seconds: float | None) -> T:
        try:
            return future.result(None if seconds is None else min(seconds, threading.TIMEOUT_MAX))
        except TimeoutError:
            if future.done():  # in the last moment, or what it raised itself
                return future.result()
            future.cancel()
            raise self._timed_out(seconds) from None
        finally:
            future.cancel()

    def _timed_out(self, seconds: float | None) -> TimedOut:
        name = self._settings.model
        why = (
            "it is still being loaded, which goes on and helps later calls"
            if self._model is None
            else f"other calls under way: {self._scheduler.under_way()}"
        )
        return TimedOut(
            f"{name} did not answer within timeout={seconds} seconds ({why}); raise timeout, send fewer documents, or"
            " put the reranker into a Fallback",
            service=name,
        )

    def _loaded(self) -> Model:
        with self._loading:
            if self._model is None:
                from ksdk_rerank.engines.select import load

                self._model = load(self._settings)
            return self._model


# The process id is part of the key because neither onnxruntime's nor torch's threads exist in a forked child: there the
# model is loaded anew, and what the child inherited is left alone.
_models: dict[tuple[int, Settings], SharedModel] = {}
_lock = Lock()


def acquire(settings: Settings, holder: object) -> SharedModel:
    """The model for `settings`, which now stays in memory at least until `holder` releases it."""
    with _lock:
        key = (os.getpid(), settings)
        shared = _models.get(key)
        if shared is None:
            shared = _models[key] = SharedModel(settings)
        shared.holders.add(holder)
        return shared


def release(settings: Settings, holder: object) -> SharedModel | None:
    """`holder` needs the model no longer. Where nobody else does, it is handed back, to be closed.

    A holder that is garbage-collected without this leaves the model in memory, for the next one.
    """
    with _lock:
        shared = _models.get((os.getpid(), settings))
        if shared is None or holder not in shared.holders:
            return None
        shared.holders.discard(holder)
        return None if shared.holders else _models.pop((os.getpid(), settings))
