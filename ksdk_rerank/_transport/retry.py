"""The retry policy: which errors are retried, how to back off, and when to stop."""

from __future__ import annotations

import asyncio
import random

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_random_exponential

from ksdk_rerank import errors

__all__ = ["transient_errors_retried"]


def transient_errors_retried(retries: int, deadline: float) -> AsyncRetrying:
    """Retries an attempt up to `retries` times, backing off with jitter, for at most `deadline` seconds.

    The deadline counts from the first attempt. A wait that would end after it is never started: the error is raised at
    once, also if `Retry-After` asks for that wait.
    """
    return AsyncRetrying(
        retry=retry_if_exception(lambda error: isinstance(error, errors.ServiceError) and error.retryable),
        wait=_wait,
        stop=stop_after_attempt(retries + 1) | stop_before_delay(deadline),
        sleep=asyncio.sleep,
        reraise=True,
    )


_backoff = wait_random_exponential(multiplier=0.3, max=8.0)  # "full jitter": from 0 up to the bound


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, errors.ServiceError) and error.retry_after is not None:
        return error.retry_after + random.uniform(0.0, 0.1)  # never sooner than requested, and not all at once
    return _backoff(state)
