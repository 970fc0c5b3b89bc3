"""Reads a failed reply: the service's explanation, when to retry, and where it redirects to."""

from __future__ import annotations

import asyncio
import json
import math
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime

import httpx

__all__ = [
    "ENCODINGS",
    "LOCATION",
    "Refusal",
    "explanation",
    "explanation_in",
    "foreign_encoding",
    "redirect_target",
    "request_id_of",
    "retry_after_of",
    "start_of",
]

ENCODINGS = ("gzip", "deflate")
"""The content encodings that are requested. In br and zstd, or in several at once, a few bytes may be gigabytes, which
httpx would decode in one step."""

LOCATION = "ksdk_rerank.location"
"""The response extension in which `default_client` keeps a redirect's target."""

_BYTES_READ = 64 * 1024
_KEYS = ("message", "error", "detail", "msg", "errors", "error_message", "error_msg", "errmsg", "reason", "description")
"""JSON keys that may hold an explanation, in order of preference."""
_DEEPEST = 5  # levels of JSON above an explanation
_TARGET_SHOWN = 200  # maximum characters of a redirect's target that an error quotes


class Refusal:
    """A reply with a failure status. Its body only adds detail; failing to read the body never replaces the error."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._sent = bytearray()
        self._is_encoded = not response.is_stream_consumed  # else the user's own hook or transport has read it

    async def read(self, seconds: float) -> None:
        """Read the start of the body: about 64 KiB, or as much as arrives within `seconds`."""
        chunks = self.response.aiter_raw() if self._is_encoded else self.response.aiter_bytes()
        with suppress(httpx.HTTPError, ssl.SSLError, TimeoutError):
            async with asyncio.timeout(seconds):
                async for chunk in chunks:
                    self._sent += chunk
                    if len(self._sent) > _BYTES_READ:
                        return

    @property
    def content(self) -> bytes:
        """The part of the body that was read, decoded; empty if it cannot be decoded."""
        content, encoding = bytes(self._sent), self.response.headers.get("content-encoding")
        if encoding is None or not self._is_encoded:
            return content
        if not foreign_encoding(self.response):
            with suppress(httpx.DecodingError):
                content = httpx.Response(200, headers={"content-encoding": encoding}, content=content).content
        try:
            content.decode()  # it may be plain, whatever the header says
        except UnicodeDecodeError:
            return b""
        return content


def retry_after_of(headers: httpx.Headers) -> float | None:
    """`Retry-After` in seconds: a number of seconds or an HTTP date (RFC 9110, section 10.2.3).

    A date is compared with the reply's own, if it has one, because the clocks here and there may differ.
    """
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        if (until := _timestamp(value)) is None:
            return None
        now = _timestamp(headers.get("date", ""))
        seconds = until - (time.time() if now is None else now)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _timestamp(date: str) -> float | None:
    """The time of an HTTP date in seconds since 1970; None if it cannot be read."""
    try:
        parsed = parsedate_to_datetime(date)
        # In asctime's form a date names no zone; HTTP dates are UTC (RFC 9110, section 5.6.7).
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def redirect_target(response: httpx.Response) -> str:
    """The URL that `response` redirects to, without credentials and query; empty if it names none."""
    location = response.extensions.get(LOCATION) or response.headers.get("location", "")
    if not location:
        return ""
    try:
        url = response.request.url.join(location).copy_with(userinfo=b"", query=None, fragment=None)
    except (httpx.InvalidURL, ValueError):
        return "an invalid address"
    return str(url)[:_TARGET_SHOWN]


def foreign_encoding(response: httpx.Response) -> str:
    """The content encoding of `response` if it was not requested, and so is not decoded; else empty."""
    used: str = response.headers.get("content-encoding", "").strip().lower()
    return "" if used in ("", "identity", *ENCODINGS) else used


def request_id_of(response: httpx.Response) -> str | None:
    """The service's request id, which its support desk needs; None if it sent none."""
    headers: Mapping[str, str] = response.headers
    return headers.get("x-request-id") or headers.get("request-id")


def start_of(content: bytes) -> str:
    """The start of a body as text. Redact keys in it before an error quotes it."""
    return content[:_BYTES_READ].decode(errors="replace")


def explanation(content: bytes) -> str:
    """The service's explanation: a field of its JSON, or the whole text unless that is a web page."""
    text = start_of(content).strip()
    try:
        return explanation_in(json.loads(text))
    except (ValueError, RecursionError):
        return "" if text.startswith("<") else " ".join(text.split())


def explanation_in(data: object, depth: int = _DEEPEST) -> str:
    """The service's explanation in decoded JSON, on one line: the first field that usually has it; empty if none."""
    if depth and isinstance(data, dict):
        return next(filter(None, (explanation_in(data.get(field), depth - 1) for field in _KEYS)), "")
    if depth and isinstance(data, list):
        return "; ".join(filter(None, (explanation_in(each, depth - 1) for each in data[:3])))
    return " ".join(data.split()) if isinstance(data, str) else ""
