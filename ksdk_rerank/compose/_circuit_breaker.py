"""`CircuitBreaker`: remembers that a reranker is down, so that a `Fallback` skips it for a while.

Follows the circuit breaker pattern (https://learn.microsoft.com/azure/architecture/patterns/circuit-breaker, read
2026-11-27): closed, open, and half-open while one trial call is under way. But: one failure opens it, since the leaf
has already retried, and only if nothing suggests that other calls are answered.
"""

from __future__ import annotations

import os
from dataclasses import replace
from time import monotonic

from ksdk_rerank.base import Reranker
from ksdk_rerank.concurrency.locks import Lock
from ksdk_rerank.errors import ConnectionFailed, QuotaExceeded, RateLimited, RerankError, ServiceError, TimedOut
from ksdk_rerank.results import Failure

__all__ = ["CircuitBreaker", "brief"]

_REFUSED = (QuotaExceeded, RateLimited)  # the service itself says that the next call will fail as well
_UNREACHABLE = (TimedOut, ConnectionFailed)
_LONGEST = 3600.0  # seconds: some services state a time where a wait belongs, or the days until a quota is renewed


class CircuitBreaker:
    """A reranker, and whether calls in this process skip it. Safe to share between threads and event loops.

    Args:
        reranker: the reranker.
        seconds: how long to skip it after a failure that began a cool-down; 0 never does.
    """

    def __init__(self, reranker: Reranker, seconds: float) -> None:
        self.reranker = reranker
        self._seconds = seconds
        self._lock = Lock()
        self._failure: Failure | None = None  # why it is skipped; None if it is not
        self._began = self._ends = 0.0
        self._trial_in: int | None = None  # the process that makes the trial call: a forked child has none under way
        self._last_answer = float("-inf")

    @property
    def ends(self) -> float:
        """When the cool-down ends, on the clock of `time.monotonic`."""
        return self._ends

    @staticmethod
    def now() -> float:
        """The time, on that clock."""
        return monotonic()

    def skipped(self) -> Failure | None:
        """Why a call has to skip the reranker; None if it may call it. After a cool-down, one call may: the trial."""
        with self._lock:
            if self._failure is None:
                return None
            left = self._ends - monotonic()
            if left <= 0 and self._trial_in != os.getpid():
                self._trial_in = os.getpid()
                return None
            until = f"for another {left:.1f} s" if left > 0 else "while one call tries it"
            return replace(self._failure, message=f"skipped {until} after {self._failure.message}")

    def answered(self, began: float) -> bool:
        """A call that began at `began` was answered. Returns whether that ends a cool-down, which must be older."""
        with self._lock:
            self._last_answer = monotonic()
            ended = self._failure is not None and began >= self._began
            if ended:
                self._failure = self._trial_in = None
            return ended

    def failed(self, error: RerankError, began: float) -> float | None:
        """A call that began at `began` failed. Returns the seconds for which the reranker is now skipped, if it is."""
        with self._lock:
            now = monotonic()
            on_trial = self._failure is not None and began >= self._began
            seconds = self._pause_after(error, on_trial, answered_since=self._last_answer >= began)
            if on_trial:
                self._trial_in = None
            if not seconds:
                return None
            if self._failure is None or on_trial:
                self._began = now
            self._failure = Failure(self.reranker.name, type(error).__name__, brief(error), skipped=True)
            self._ends = max(self._ends, now + seconds)
            return seconds

    def abandoned(self, began: float) -> None:
        """A call that began at `began` was cancelled, or failed through the caller's fault: the next may be a trial."""
        with self._lock:
            if began >= self._began:
                self._trial_in = None

    def _pause_after(self, error: RerankError, on_trial: bool, answered_since: bool) -> float:
        if not self._seconds:
            return 0.0
        retry_after = error.retry_after if isinstance(error, ServiceError) else None
        if retry_after is not None:
            return min(retry_after, _LONGEST)
        down = isinstance(error, _UNREACHABLE) and not answered_since
        return self._seconds if on_trial or isinstance(error, _REFUSED) or down else 0.0


def brief(error: RerankError) -> str:
    """The error's class and status. The message is left out: it may quote the reply, and with it a document."""
    status = getattr(error, "status", None)
    return type(error).__name__ if status is None else f"{type(error).__name__}, status {status}"
