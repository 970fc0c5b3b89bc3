"""The one way out: a JSON POST with deadlines, retries and errors that say what to do.

Every service that this library asks is asked through `HttpService`, so what users rely on is decided here: time-outs
are explicit, one budget covers all attempts, `Retry-After` is honoured, redirects are not followed, replies are
bounded, and every failure becomes one of our errors.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from ksdk_rerank import errors
from ksdk_rerank._background import run_in_background
from ksdk_rerank._clients import ClientsByLoop, default_client
from ksdk_rerank._credentials import ApiKey
from ksdk_rerank._failures import (
    ADVICE,
    ERROR_OF_STATUS,
    error_of,
    explanation,
    request_id_of,
    retry_after_of,
    start_of,
)
from ksdk_rerank._pacing import pause_if_busy
from ksdk_rerank._retry import transient_errors_retried
from ksdk_rerank.timeout import Timeout

__all__ = ["HttpService", "Reply"]

T = TypeVar("T")

_MAX_REPLY_BYTES = 32 * 1024 * 1024
_MAX_ERROR_BYTES = 64 * 1024
_BODY_SHOWN = 500  # characters of a reply's text that an error carries
_REQUESTS_AT_ONCE = 8  # of one call that is split; the rest wait, so that one call does not starve the others
_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful reply: the decoded JSON, the service's id of the request, and the body as it came."""

    status: int
    data: object
    request_id: str | None
    content: bytes = field(default=b"", repr=False)


class HttpService:
    """One remote service, asked by POST with a JSON body.

    It may be shared between threads and event loops: each loop has connections of its own, which are kept alive and
    closed with the loop. Synchronous calls share one background loop.

    Args:
        service: its name, for messages.
        key: its API key, or None where it wants none.
        key_header: the header that carries the key, and what stands before it, such as
            `("Authorization", "Bearer ")`.
        timeout: the deadlines of one call.
        retries: how many more attempts a transient failure gets, within the total deadline.
        error_of_status: error classes for statuses that mean something special with this service.
        client_factory: makes an `httpx.AsyncClient`, for users with proxies, certificates or transports of their own.
            It is called once for each request that is under way at a time. We close what it makes.
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
        self._auth = None if key is None else _KeyHeader(key, *key_header)
        self._error_of_status = {**ERROR_OF_STATUS, **(error_of_status or {})}
        self._client_factory = client_factory or default_client
        self._clients = ClientsByLoop()

    def post(self, url: str, body: Mapping[str, object]) -> Reply:
        """Send `body` to `url` and wait for the reply. Raises a `ServiceError` where there is none to be had."""
        return run_in_background(self.apost(url, body))

    async def apost(self, url: str, body: Mapping[str, object]) -> Reply:
        """Like `post`, on the running event loop."""
        content = json.dumps(body, ensure_ascii=False, allow_nan=False).encode(errors="replace")
        return await self.asend(url, content, _HEADERS)

    async def asend(self, url: str, content: bytes, headers: Mapping[str, str]) -> Reply:
        """Like `apost`, for a body that is encoded already. The key is added to `headers` here."""
        async with self._deadline() as deadline:
            retrying = transient_errors_retried(self.retries, deadline)
            return await retrying(self._attempt, url, content, headers)

    async def together(self, requests: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """The results of a call that is split into several `requests`, in their order.

        Some run at a time, the total deadline covers them all, and the first to fail ends the others.
        """
        at_once = asyncio.Semaphore(_REQUESTS_AT_ONCE)

        async def in_turn(request: Coroutine[Any, Any, T]) -> T:
            async with at_once:
                return await request

        async with self._deadline():
            tasks = [asyncio.ensure_future(in_turn(request)) for request in requests]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                for request in requests:
                    request.close()  # one that has not begun would warn that it was never awaited

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[float]:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self.timeout.total):
                yield self.timeout.total
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

    async def _attempt(self, url: str, content: bytes, headers: Mapping[str, str]) -> Reply:
        timeout = httpx.Timeout(self.timeout.read, connect=self.timeout.connect, pool=self.timeout.total)
        try:
            async with (
                self._clients.turn(self._client_factory) as client,
                client.stream(
                    "POST",
                    url,
                    content=content,
                    headers=headers,
                    auth=self._auth,
                    timeout=timeout,
                    follow_redirects=False,
                ) as response,
            ):
                await pause_if_busy()
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
        return bytes(content) if self._key is None else self._key.masked_bytes(bytes(content))

    def _reply(self, response: httpx.Response, content: bytes) -> Reply:
        status = response.status_code
        if not response.is_success:
            error_class = self._error_of_status.get(status) or error_of(status)
            said = self._masked(explanation(content))[:_BODY_SHOWN]
            raise self._error(error_class, said or response.reason_phrase, response=response, body=start_of(content))
        try:
            return Reply(status, json.loads(content), request_id_of(response), content)
        except (ValueError, RecursionError) as error:
            text = start_of(content)
            what = f"sent a body that is not JSON ({len(content)} bytes)" if content else "sent an empty body"
            raise self._error(errors.BadReply, what, response=response, body=text) from error

    def bad_reply(self, what: str, reply: Reply) -> errors.BadReply:
        """The error for a reply that is JSON but not of the documented shape; `what` says how."""
        message = f"{self.service} answered {reply.status}, but {what}; {ADVICE[errors.BadReply]}"
        return errors.BadReply(
            self._masked(message),
            service=self.service,
            status=reply.status,
            request_id=reply.request_id,
            body=self._masked(start_of(reply.content))[:_BODY_SHOWN],
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
        request_id = None if response is None else request_id_of(response)
        retry_after = None if response is None else retry_after_of(response.headers)
        said = f" answered {status}: {what}" if status is not None else f": {what}"
        notes = [
            f"request id {request_id}" if request_id else "",
            f"asks to wait {retry_after:g} s" if retry_after is not None else "",
        ]
        noted = ", ".join(note for note in notes if note)
        message = f"{self.service}{said}{f' ({noted})' if noted else ''}; {ADVICE[error_class]}"
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


class _KeyHeader(httpx.Auth):
    """Adds the key where the request leaves, so that no frame of ours holds it in a variable."""

    def __init__(self, key: ApiKey, header: str, prefix: str) -> None:
        self._key = key
        self._header = header
        self._prefix = prefix

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers[self._header] = self._prefix + self._key.get_secret_value()
        yield request
