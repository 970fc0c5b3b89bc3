"""Keeps one copy of the weights per process and settings, however many rerankers use it."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TypeVar

from ksdk_rerank.concurrency.locks import Lock
from ksdk_rerank.concurrency.worker import Worker
from ksdk_rerank.engines.engine import ModelSettings
from ksdk_rerank.engines.hardware import streams_and_threads
from ksdk_rerank.engines.scheduler import Scheduler
from ksdk_rerank.engines.scoring import Job, Model, Question
from ksdk_rerank.errors import TimedOut
from ksdk_rerank.scores import Scores

__all__ = ["ModelRunner", "acquire", "release"]

T = TypeVar("T")


class ModelRunner:
    """A model and its own threads, which alone load and run it. Any thread may call the methods.

    The model is loaded once, however many calls wait for it, and never released while in use.
    """

    def __init__(self, settings: ModelSettings) -> None:
        streams, _ = streams_and_threads()
        self.worker = Worker("ksdk-rerank-model", streams)
        self.holders: weakref.WeakSet[object] = weakref.WeakSet()
        self._scheduler = Scheduler(self.worker, settings.model)
        self._settings = settings
        self._loading = Lock()
        self._model: Model | None = None

    def score(
        self,
        questions: Sequence[Question],
        *,
        instruction: str | None = None,
        seconds: float | None = None,
        max_waiting: int | None = None,
    ) -> list[Scores]:
        """Wait for each query's scores, at most `seconds`. If the wait is interrupted, the call leaves the queue.

        Raises:
            TimedOut: the scores did not arrive in time.
            Overloaded: `max_waiting` calls are already waiting.
        """
        return self._wait(self._scheduler.join(Job(self._loaded, questions, instruction), max_waiting), seconds)

    async def ascore(
        self,
        questions: Sequence[Question],
        *,
        instruction: str | None = None,
        seconds: float | None = None,
        max_waiting: int | None = None,
    ) -> list[Scores]:
        """Like `score`, without blocking the event loop. If the task is cancelled, the call leaves the queue."""
        future = self._scheduler.join(Job(self._loaded, questions, instruction), max_waiting)
        try:
            async with asyncio.timeout(seconds) as deadline:
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if not deadline.expired():
                raise
            future.cancel()
            raise self._timed_out(seconds) from None

    def model(self, seconds: float | None = None) -> Model:
        """The model, loaded first if necessary. Raises `TimedOut` if that takes longer than `seconds`."""
        return self._model or self._wait(self.worker.submit(self._loaded), seconds)

    def close(self) -> None:
        """Wait for the calls in progress, then release the weights."""
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
            if future.done():  # finished at the last moment, or raised TimeoutError itself
                return future.result()
            future.cancel()
            raise self._timed_out(seconds) from None
        finally:
            future.cancel()

    def _timed_out(self, seconds: float | None) -> TimedOut:
        name = self._settings.model
        why = (
            "it is still loading, and will be ready for later calls"
            if self._model is None
            else f"calls in progress: {self._scheduler.in_progress()}"
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


# The process id is part of the key because onnxruntime's and torch's threads do not survive a fork. A forked child
# loads the model again and leaves the inherited copy alone.
_runners: dict[tuple[int, ModelSettings], ModelRunner] = {}
_lock = Lock()


def acquire(settings: ModelSettings, holder: object) -> ModelRunner:
    """The runner for `settings`. Its model stays in memory at least until `holder` releases it."""
    with _lock:
        key = (os.getpid(), settings)
        runner = _runners.get(key)
        if runner is None:
            runner = _runners[key] = ModelRunner(settings)
        runner.holders.add(holder)
        return runner


def release(settings: ModelSettings, holder: object) -> ModelRunner | None:
    """Drop `holder`'s claim on the model. If it was the last holder, return the runner for the caller to close.

    If a holder is garbage-collected without releasing it, the model stays in memory for the next holder.
    """
    with _lock:
        runner = _runners.get((os.getpid(), settings))
        if runner is None or holder not in runner.holders:
            return None
        runner.holders.discard(holder)
        return None if runner.holders else _runners.pop((os.getpid(), settings))
