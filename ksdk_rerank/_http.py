"""The one way out: a JSON POST with deadlines, retries and errors that say what to do.

Every service that this library asks is asked through `HttpService`, so what users rely on is decided here: time-outs
are explicit, one budget covers all attempts, `Retry-After` is honoured, redirects are not followed, replies are
bounded, and every failure becomes one of our errors.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_random_exponential

from ksdk_rerank import errors
from ksdk_rerank._background import run_in_background
from ksdk_rerank._clients import ClientsByLoop, default_client
from ksdk_rerank._credentials import ApiKey
from ksdk_rerank.timeout import Timeout

__all__ = ["HttpService", "Reply"]

_MAX_REPLY_BYTES = 32 * 1024 * 1024
_MAX_ERROR_BYTES = 64 * 1024
_BODY_SHOWN = 500  # characters of a reply's text that an error carries

_ERROR_OF_STATUS: Mapping[int, type[errors.ServiceError]] = {
    400: errors.BadRequest,
    401: errors.Unauthorized,
    403: errors.Unauthorized,
    408: errors.TimedOut,
    413: errors.BadRequest,
    422: errors.BadRequest,
    429: errors.RateLimited,
    498: errors.Unauthorized,
}
_ADVICE: Mapping[type[errors.ServiceError], str] = {
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


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful reply: the decoded JSON and the service's id of the request."""

    status: int
    data: object
    request_id: str | None


class HttpService:
    """One remote service, asked by POST with a JSON body.

    It may be shared between threads and event loops: each loop has a client of its own, whose connections are kept
    alive and closed with the loop. Synchronous calls share one background loop.

    Args:
        service: its name, for messages.
        key: its API key, or None where it wants none.
        key_header: the header that carries the key, and what stands before it, such as
            `("Authorization", "Bearer ")`.
        timeout: the deadlines of one call.
        retries: how many more attempts a transient failure gets, within the total deadline.
        error_of_status: error classes for statuses that mean something special with this service.
        client_factory: makes the `httpx.AsyncClient` of an event loop, for users with proxies, certificates or
            transports of their own. We close what it makes.
    """

    def __init__(
        self,
        service: str,
        *,
        key: ApiKey | None = None,
        key_header: tuple[str, str] = ("Authorization", "Bearer "),
        timeout: float | Timeout = 30.0,
        retries: int = 2,
        error_of_status: Mapping[int, type[errors.ServiceError]] | None = None,
        client_factory: Callable[[], httpx.AsyncClient] | None = None,
    ) -> None:
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise ValueError(f"retries must be an integer of at least 0, got {retries!r}")
        self.service = service
        self.timeout = Timeout.of(timeout)
        self.retries = retries
        self._key = key
        self._key_header = key_header
        self._error_of_status = {**_ERROR_OF_STATUS, **(error_of_status or {})}
        self._client_factory = client_factory or default_client
        self._clients = ClientsByLoop()

    def post(self, url: str, body: Mapping[str, object]) -> Reply:
        """Send `body` to `url` and wait for the reply. Raises a `ServiceError` where there is none to be had."""
        return run_in_background(self.apost(url, body))

    async def apost(self, url: str, body: Mapping[str, object]) -> Reply:
        """Like `post`, on the running event loop."""
        content = json.dumps(body, ensure_ascii=False, allow_nan=False).encode(errors="replace")
        started = time.monotonic()
        retrying = AsyncRetrying(
            retry=retry_if_exception(_worth_another_attempt),
            wait=_wait,
            stop=stop_after_attempt(self.retries + 1) | stop_before_delay(self.timeout.total),
            sleep=asyncio.sleep,
            reraise=True,
        )
        try:
            async with asyncio.timeout(self.timeout.total):
                return await retrying(self._attempt, url, content)
        except TimeoutError as error:
            if isinstance(error, errors.TimedOut):
                raise
            waited = time.monotonic() - started
            raise self._error(errors.TimedOut, f"had not answered in full after {waited:.1f} s") from error

    def close(self) -> None:
        """Close the connections that synchronous calls opened."""
        if self._clients:
            run_in_background(self._clients.close())

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._clients.close()

    async def _attempt(self, url: str, content: bytes) -> Reply:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._key is not None:
            header, prefix = self._key_header
            headers[header] = prefix + self._key.get_secret_value()
        timeout = httpx.Timeout(self.timeout.read, connect=self.timeout.connect, pool=self.timeout.total)
        try:
            client = await self._clients.of_running_loop(self._client_factory)
            async with client.stream(
                "POST", url, content=content, headers=headers, timeout=timeout, follow_redirects=False
            ) as response:
                return self._reply(response, await self._content(response))
        except httpx.ConnectTimeout as error:
            raise self._error(errors.TimedOut, f"no connection within {self.timeout.connect:g} s") from error
        except httpx.TimeoutException as error:
            raise self._error(errors.TimedOut, f"sent nothing for {self.timeout.read:g} s") from error
        except httpx.DecodingError as error:
            raise self._error(errors.BadReply, f"sent a body that cannot be decoded: {error}") from error
        except httpx.TransportError as error:
            raise self._error(errors.ConnectionFailed, f"{type(error).__name__}: {error or 'no details'}") from error
        except httpx.InvalidURL as error:
            raise ValueError(f"{self.service}: the URL {url!r} is not valid: {error}") from error

    async def _content(self, response: httpx.Response) -> bytes:
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if not response.is_success and len(content) > _MAX_ERROR_BYTES:
                break
            if len(content) > _MAX_REPLY_BYTES:
                raise self._error(errors.BadReply, f"sent more than {_MAX_REPLY_BYTES // 2**20} MiB", response=response)
        return bytes(content)

    def _reply(self, response: httpx.Response, content: bytes) -> Reply:
        status = response.status_code
        if not response.is_success:
            error_class = self._error_of_status.get(status) or _error_of(status)
            text = content[: 4 * _BODY_SHOWN].decode(errors="replace")
            raise self._error(error_class, _said(content) or response.reason_phrase, response=response, body=text)
        try:
            return Reply(status, json.loads(content), _request_id(response))
        except ValueError as error:
            text = content[: 4 * _BODY_SHOWN].decode(errors="replace")
            what = f"sent a body that is not JSON ({len(content)} bytes)" if content else "sent an empty body"
            raise self._error(errors.BadReply, what, response=response, body=text) from error

    def bad_reply(self, what: str, reply: Reply) -> errors.BadReply:
        """The error for a reply that is JSON but not of the documented shape; `what` says how."""
        message = f"{self.service} answered {reply.status}, but {what}; {_ADVICE[errors.BadReply]}"
        return errors.BadReply(
            self._masked(message),
            service=self.service,
            status=reply.status,
            request_id=reply.request_id,
            body=self._masked(json.dumps(reply.data)[:_BODY_SHOWN]),
        )

    def _error(
        self,
        error_class: type[errors.ServiceError],
        what: str,
        *,
        response: httpx.Response | None = None,
        body: str = "",
    ) -> errors.ServiceError:
        status = None if response is None else response.status_code
        request_id = None if response is None else _request_id(response)
        retry_after = None if response is None else _retry_after(response.headers)
        said = f" answered {status}: {what}" if status is not None else f": {what}"
        notes = [
            f"request id {request_id}" if request_id else "",
            f"asks to wait {retry_after:g} s" if retry_after is not None else "",
        ]
        noted = ", ".join(note for note in notes if note)
        message = f"{self.service}{said}{f' ({noted})' if noted else ''}; {_ADVICE[error_class]}"
        return error_class(
            self._masked(message),
            service=self.service,
            status=status,
            request_id=request_id,
            retry_after=retry_after,
            body=self._masked(body)[:_BODY_SHOWN],
        )

    def _masked(self, text: str) -> str:
        return text if self._key is None else self._key.masked(text)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_clients"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _clients=ClientsByLoop())


def _error_of(status: int) -> type[errors.ServiceError]:
    if 300 <= status < 400:
        return errors.Redirected
    return errors.ServerError if status >= 500 and status != 501 else errors.NotFound


def _worth_another_attempt(error: BaseException) -> bool:
    return isinstance(error, errors.ServiceError) and error.transient and not isinstance(error, errors.BadReply)


_backoff = wait_random_exponential(multiplier=0.3, max=8.0)  # "full jitter": anywhere from 0 to the bound


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, errors.ServiceError) and error.retry_after is not None:
        return error.retry_after + random.uniform(0.0, 0.1)  # never sooner than asked, and not all at once
    return _backoff(state)


def _retry_after(headers: httpx.Headers) -> float | None:
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


def _request_id(response: httpx.Response) -> str | None:
    headers: Mapping[str, str] = response.headers
    return headers.get("x-request-id") or headers.get("request-id")


def _said(content: bytes) -> str:
    """What the service said was wrong: a field of its JSON, or its text where that is not a web page."""
    text = content[:_MAX_ERROR_BYTES].decode(errors="replace").strip()
    try:
        said = _message(json.loads(text))
    except ValueError:
        said = "" if text.startswith("<") else text
    return " ".join(said.split())[:_BODY_SHOWN]


def _message(data: object) -> str:
    if isinstance(data, dict):
        for field in ("message", "error", "detail", "msg"):
            if field in data and (said := _message(data[field])):
                return said
        return ""
    if isinstance(data, list):
        return "; ".join(filter(None, map(_message, data[:3])))
    return data if isinstance(data, str) else ""
