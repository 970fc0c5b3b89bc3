"""What a failed reply says: which of our errors it is, why in the service's own words, and what to do next."""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Mapping

import httpx

from ksdk_rerank import errors

__all__ = ["ADVICE", "ERROR_OF_STATUS", "error_of", "explanation", "request_id_of", "retry_after_of", "start_of"]

_BYTES_READ = 64 * 1024

ERROR_OF_STATUS: Mapping[int, type[errors.ServiceError]] = {
    400: errors.BadRequest,
    401: errors.Unauthorized,
    403: errors.Unauthorized,
    408: errors.TimedOut,
    413: errors.BadRequest,
    422: errors.BadRequest,
    429: errors.RateLimited,
    498: errors.Unauthorized,
}
ADVICE: Mapping[type[errors.ServiceError], str] = {
    errors.BadRequest: "the service refuses the input; correct it, sending it again cannot help",
    errors.Unauthorized: "check the API key and what it is allowed to do",
    errors.NotFound: "check base_url and the model's name",
    errors.Redirected: "set base_url to the address it redirects to, redirects would carry the key along",
    errors.SearchUnavailable: "search may be switched off on the server, or base_url may point elsewhere",
    errors.RateLimited: "send fewer requests, or give the call a longer timeout so that it can wait its turn",
    errors.ServerError: "try again later, or put the reranker into a Fallback",
    errors.ConnectionFailed: "check the address and the network",
    errors.TimedOut: "give the call a longer timeout, or send less",
    errors.BadReply: "check that base_url points to this service and not to a proxy or a web page",
}


def error_of(status: int) -> type[errors.ServiceError]:
    """The error that a status means where the service and the table above say nothing of it."""
    if 300 <= status < 400:
        return errors.Redirected
    return errors.ServerError if status >= 500 and status != 501 else errors.NotFound


def retry_after_of(headers: httpx.Headers) -> float | None:
    """`Retry-After` in seconds: a number of seconds or an HTTP date (RFC 9110, section 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def request_id_of(response: httpx.Response) -> str | None:
    """What the service's support desk asks for."""
    headers: Mapping[str, str] = response.headers
    return headers.get("x-request-id") or headers.get("request-id")


def start_of(content: bytes) -> str:
    """The start of a body, for an error to quote once keys are masked in it."""
    return content[:_BYTES_READ].decode(errors="replace")


def explanation(content: bytes) -> str:
    """What the service said was wrong: a field of its JSON, or its text where that is not a web page."""
    text = start_of(content).strip()
    try:
        said = _message(json.loads(text))
    except (ValueError, RecursionError):
        said = "" if text.startswith("<") else text
    return " ".join(said.split())


def _message(data: object) -> str:
    if isinstance(data, dict):
        for field in ("message", "error", "detail", "msg"):
            if field in data and (said := _message(data[field])):
                return said
        return ""
    if isinstance(data, list):
        return "; ".join(filter(None, map(_message, data[:3])))
    return data if isinstance(data, str) else ""
