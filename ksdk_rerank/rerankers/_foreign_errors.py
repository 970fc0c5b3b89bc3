"""Maps what other libraries raise to our errors, so that a `Fallback` can tell an outage from a wrong key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ksdk_rerank._transport.failed_replies import retry_after_of
from ksdk_rerank._transport.statuses import ADVICE, meaning_of
from ksdk_rerank.errors import InferenceFailed, RerankError, TimedOut

__all__ = ["foreign_errors"]

_SHOWN = 500  # maximum characters of a message; some libraries quote whole requests


@contextmanager
def foreign_errors(name: str) -> Iterator[None]:
    """Map what the block raises. `name` is that of the reranker, for the message.

    An HTTP status that the error or its cause carries decides as it does for our own requests; a timeout becomes
    `TimedOut`, and anything else `InferenceFailed`.
    """
    try:
        yield
    except RerankError:
        raise
    except Exception as error:
        raise _mapped(name, error) from error


def _mapped(name: str, error: Exception) -> RerankError:
    message = f"{name} failed: {type(error).__name__}: {error}"[:_SHOWN]
    cause: BaseException | None = error
    while cause is not None:
        status = _status_of(cause)
        if status is not None:
            retry_after = _retry_after_of(cause)
            error_class, advice = meaning_of(status, str(cause), retry_after=retry_after)
            return error_class(f"{message}; {advice}", service=name, status=status, retry_after=retry_after)
        if isinstance(cause, TimeoutError) or any("Timeout" in kind.__name__ for kind in type(cause).__mro__):
            return TimedOut(f"{message}; {ADVICE[TimedOut]}", service=name)
        cause = cause.__cause__
    return InferenceFailed(message)


def _status_of(error: BaseException) -> int | None:
    """The status that an error of an SDK carries.

    `status_code`: cohere, openai, anthropic; `response.status_code`: httpx, requests; `code`: google.api_core;
    `response["ResponseMetadata"]`: botocore (all read in their source, 2026-11-27).
    """
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        metadata = response.get("ResponseMetadata")
        found = [metadata.get("HTTPStatusCode")] if isinstance(metadata, Mapping) else []
    else:
        found = [getattr(error, "status_code", None), getattr(response, "status_code", None)]
    found.append(getattr(error, "code", None))
    return next((int(value) for value in found if isinstance(value, int) and 400 <= value < 600), None)


def _retry_after_of(error: BaseException) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", None)
    return retry_after_of(headers) if headers is not None else None
