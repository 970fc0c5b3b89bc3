"""The one way out: a JSON POST with deadlines, retries and errors that say what to do.

Every service that this library asks is asked through `HttpService`, so what users rely on is decided here: time-outs
are explicit, one budget covers all attempts, `Retry-After` is honoured, redirects are not followed, replies are
bounded, and every failure becomes one of our errors.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import httpx

from ksdk_rerank import errors
from ksdk_rerank._arguments import integer
from ksdk_rerank._transport.auth import ApiKey
from ksdk_rerank._transport.connections import ClientsByLoop, default_client
from ksdk_rerank._transport.environment import without_credentials
from ksdk_rerank._transport.error_mapping import ErrorClass, Reporter
from ksdk_rerank._transport.failed_replies import Refusal, foreign_encoding, request_id_of, start_of
from ksdk_rerank._transport.pacing import pause_if_busy
from ksdk_rerank._transport.retry import transient_errors_retried
from ksdk_rerank._transport.sync_bridge import run_in_background, run_where_names_resolve
from ksdk_rerank.timeout import Timeout

__all__ = ["HttpService", "Reply"]

T = TypeVar("T")

_call_began: ContextVar[float] = ContextVar("call_began")
"""When the call began that the running request is a part of."""

_MAX_REPLY_BYTES = 32 * 1024 * 1024
_MAX_ERROR_BYTES = 64 * 1024  # of a success that is an error in truth
_REFUSAL_SECONDS = 2.0  # for the body of an error, or a quarter of the whole call if that is less
_REQUESTS_AT_ONCE = 8  # of one call that is split; the rest wait, so that one call does not starve the others
_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful reply: the decoded JSON, the service's id of the request, the body as it came, and the address."""

    status: int
    data: object = field(repr=False)  # it may quote the key
    request_id: str | None
    content: bytes = field(default=b"", repr=False)
    url: str = field(default="", repr=False)  # a client of the user's may have added a secret to it


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
        error_of_status: error classes for statuses that mean something special with this service. A function is given
            the reply's text and returns the class.
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
        error_of_status: Mapping[int, ErrorClass] | None = None,
        client_factory: Callable[[], httpx.AsyncClient] | None = None,
    ) -> None:
        self.service = service
        self.timeout = Timeout.of(timeout)
        self.retries = integer("retries", retries, at_least=0)
        self._key = key
        self._auth = None if key is None else _KeyHeader(key, *key_header)
        self._report = Reporter(service, key, self.timeout, error_of_status or {}, client_factory is None)
        self._client_factory = client_factory or partial(default_client, service)
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
        _check_address(self.service, url)
        if self._key is not None:
            self._key.get_secret_value()  # a copy out of a pickle may have none: say so before anything is opened
        began = _call_began.get(time.monotonic())
        left = began + self.timeout.total - time.monotonic()
        refusals: list[Refusal] = []
        try:
            async with asyncio.timeout(left):
                retrying = transient_errors_retried(self.retries, left)
                return await retrying(self._attempt, url, content, headers, refusals)
        except TimeoutError as error:
            if isinstance(error, errors.TimedOut):
                raise
            if refusals:  # time ran out over the body of an error, and what the status says is worth more
                raise self._report.refused(refusals[-1], url) from error
            waited = time.monotonic() - began
            raise self._report.error(errors.TimedOut, f"had not answered in full after {waited:.1f} s") from error

    async def together(self, requests: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """The results of a call that is split into several `requests`, in their order.

        Some run at a time, the total deadline covers them all, and the first to fail ends the others.
        """
        at_once = asyncio.Semaphore(_REQUESTS_AT_ONCE)

        async def in_turn(request: Coroutine[Any, Any, T]) -> T:
            async with at_once:
                return await request

        outer = _call_began.set(_call_began.get(time.monotonic()))
        tasks = [asyncio.ensure_future(in_turn(request)) for request in requests]
        try:
            return await asyncio.gather(*tasks)
        finally:
            _call_began.reset(outer)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for request in requests:
                request.close()  # one that has not begun would warn that it was never awaited

    def close(self) -> None:
        """Close the connections that synchronous calls opened."""
        if self._clients:
            run_in_background(self._clients.close())

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._clients.close()

    async def _attempt(self, url: str, content: bytes, headers: Mapping[str, str], refusals: list[Refusal]) -> Reply:
        refusals.clear()
        return await run_where_names_resolve(self._exchange(url, content, headers, refusals))

    async def _exchange(self, url: str, content: bytes, headers: Mapping[str, str], refusals: list[Refusal]) -> Reply:
        timeout = httpx.Timeout(self.timeout.read, connect=self.timeout.connect, pool=self.timeout.total)
        async with self._clients.turn(self._client_factory) as client:
            try:
                async with client.stream(
                    "POST",
                    url,
                    content=content,
                    headers=headers,
                    auth=self._auth,
                    timeout=timeout,
                    follow_redirects=False,
                ) as response:
                    if not response.is_success:
                        refusals.append(Refusal(response))
                        await refusals[-1].read(min(_REFUSAL_SECONDS, self.timeout.total / 4))
                        raise self._report.refused(refusals[-1], url)
                    await pause_if_busy()
                    reply, problem = await _reply_in(response)
                    if problem:
                        raise self._report.error(
                            errors.BadReply, problem, response=response, body=start_of(reply.content)
                        )
                    return reply
            except errors.RerankError:
                raise
            except Exception as error:
                if broken := self._report.broken(error, url):
                    raise broken from error
                raise

    def bad_reply(self, what: str, reply: Reply, *, advice: str | None = None) -> errors.BadReply:
        """The error for a reply that is JSON but not of the documented shape: `what` says how, `advice` what to do.

        Raise it outside of an `except` block: the error that is handled there may quote the key, and its frames hold
        the payload.
        """
        return self._report.bad_reply(what, reply, advice=advice)

    def explanation(self, reply: Reply) -> str:
        """What `reply` says is wrong, to be quoted; empty if it says nothing, or is too long to be an error."""
        return self._report.explanation(reply.content) if len(reply.content) <= _MAX_ERROR_BYTES else ""

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


async def _reply_in(response: httpx.Response) -> tuple[Reply, str]:
    """The reply in `response`, and what is wrong with it; empty if nothing is.

    It is for the caller to raise: a traceback may be logged with the variables of its frames, and here they hold a
    payload, which may quote the key.
    """
    content = bytearray()
    data, problem = None, ""
    try:
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > _MAX_REPLY_BYTES:
                problem = f"sent more than {_MAX_REPLY_BYTES // 2**20} MiB"
                break
        else:
            data = json.loads(content)
    except httpx.DecodingError as error:
        problem = f"sent a body that cannot be decoded as {response.headers.get('content-encoding')}: {error}"
    except (ValueError, RecursionError):
        problem = f"sent a body that is not JSON ({len(content)} bytes)" if content else "sent an empty body"
        if encoding := foreign_encoding(response):
            problem += f", in the encoding {encoding}, which was not asked for and cannot be decoded"
    url = str(response.request.url)
    return Reply(response.status_code, data, request_id_of(response), bytes(content), url), problem


def _check_address(service: str, url: str) -> None:
    try:
        port = httpx.URL(url).port
    except httpx.InvalidURL:
        port = 0
    if port is not None and not 0 < port < 65536:
        raise ValueError(
            f"{service}: the URL {without_credentials(url)!r} is not valid; write one like https://host:443"
        )
