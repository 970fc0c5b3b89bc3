"""`HttpService`: sends every request to a service.

It guarantees what users rely on: timeouts are explicit, one deadline covers all attempts, `Retry-After` is honoured,
redirects are not followed, reply size is limited, and every failure becomes one of our errors.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from ksdk_rerank import errors
from ksdk_rerank._arguments import function_or_none, integer, integer_or_none
from ksdk_rerank._transport.auth import Authentication
from ksdk_rerank._transport.connections import ClientsByLoop, default_client
from ksdk_rerank._transport.error_mapping import ErrorClass, Reporter
from ksdk_rerank._transport.failed_replies import ENCODINGS, Refusal, start_of
from ksdk_rerank._transport.json_reply import JsonReply, read_reply
from ksdk_rerank._transport.pacing import pause_if_busy
from ksdk_rerank._transport.retry import transient_errors_retried
from ksdk_rerank._transport.slots import slots_for
from ksdk_rerank._transport.sync_bridge import run_in_background, run_where_names_resolve
from ksdk_rerank.concurrency.tasks import all_of
from ksdk_rerank.timeout import Timeout

__all__ = ["HttpService"]

T = TypeVar("T")

_call_began: ContextVar[float] = ContextVar("call_began")
"""Start time of the call to which the current request belongs."""

_MAX_ERROR_BYTES = 64 * 1024  # a longer reply with a success status is no error message
_REFUSAL_SECONDS = 2.0  # to read an error's body, or a quarter of the total deadline if that is less
_REQUESTS_AT_ONCE = 8  # per split call; the rest wait, so that one call does not starve the others
_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}


@dataclass(slots=True)
class _Attempt:
    """How far the current attempt of a call has come.

    Attributes:
        refusal: a reply with an error's status whose body is being read.
        queued: whether it still waits for its turn, because of `max_concurrency`.
    """

    refusal: Refusal | None = None
    queued: bool = False


class HttpService:
    """One remote service, called by POST with a JSON body.

    Threads and event loops may share an instance. Each loop has its own connections, which are kept alive and closed
    with the loop. Synchronous calls share one background loop.

    Args:
        service: its name, for error messages.
        auth: how requests are authenticated, or None if the service needs no key.
        timeout: the deadlines of one call.
        retries: how many times to retry a transient failure, within the total deadline.
        error_of_status: error classes for statuses that have a special meaning for this service. A function receives
            the reply's text and returns the class.
        client_factory: returns a new `httpx.AsyncClient`, for the user's own proxies, certificates or transports. It
            is called once per concurrent request; the clients are reused, and closed by us.
        max_concurrency: how many requests may be under way, counting those of all instances in this process that have
            such a limit, the same host and the same key. Further ones wait, within the total deadline. None: no limit.
    """

    def __init__(
        self,
        service: str,
        *,
        auth: Authentication | None = None,
        timeout: float | Timeout = 30.0,
        retries: int = 2,
        error_of_status: Mapping[int, ErrorClass] | None = None,
        client_factory: Callable[[], httpx.AsyncClient] | None = None,
        max_concurrency: int | None = None,
    ) -> None:
        self.service = service
        self.timeout = Timeout.of(timeout)
        self.retries = integer("retries", retries, at_least=0)
        self.max_concurrency = integer_or_none("max_concurrency", max_concurrency, unit="request")
        function_or_none("client_factory", client_factory, returns="a new httpx.AsyncClient")
        self._auth = auth
        self._report = Reporter(service, auth, self.timeout, error_of_status or {}, client_factory is None)
        self._client_factory = client_factory or partial(default_client, service)
        self._clients = ClientsByLoop()

    def post(self, url: str, body: Mapping[str, object]) -> JsonReply:
        """Send `body` to `url` and wait for the reply. Raises a `ServiceError` if there is no usable one."""
        return run_in_background(self.apost(url, body))

    async def apost(self, url: str, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> JsonReply:
        """Like `post`, on the running event loop, with further `headers` if there are any."""
        content = json.dumps(body, ensure_ascii=False, allow_nan=False).encode(errors="replace")
        sent = httpx.Headers(_HEADERS)  # which ignore case
        sent.update(headers or {})
        return await self.asend(url, content, sent)

    async def asend(self, url: str, content: bytes, headers: Mapping[str, str]) -> JsonReply:
        """Like `apost`, for a body that is already encoded. Authentication is added here."""
        if self._auth is not None:
            self._auth.check()
        began = _call_began.get(time.monotonic())
        left = began + self.timeout.total - time.monotonic()
        attempt = _Attempt()
        try:
            async with asyncio.timeout(left):
                retrying = transient_errors_retried(self.retries, left)
                return await retrying(self._attempt, url, content, headers, attempt)
        except TimeoutError as error:
            if isinstance(error, errors.TimedOut):
                raise
            if attempt.refusal:  # the deadline passed while reading an error's body; its status is worth more
                raise self._report.refused(attempt.refusal, url) from error
            raise self._late(attempt, time.monotonic() - began) from error

    async def together(self, requests: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """The results of a call that is split into several `requests`, in their order.

        Up to eight run at once under one total deadline. The first failure cancels the others.
        """
        outer = _call_began.set(_call_began.get(time.monotonic()))
        try:
            return await all_of(requests, at_once=_REQUESTS_AT_ONCE)
        finally:
            _call_began.reset(outer)

    def close(self) -> None:
        """Close the connections that synchronous calls opened."""
        if self._clients:
            run_in_background(self._clients.close())

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._clients.close()

    async def _attempt(self, url: str, content: bytes, headers: Mapping[str, str], attempt: _Attempt) -> JsonReply:
        attempt.refusal = None
        async with AsyncExitStack() as stack:
            if self.max_concurrency is not None:
                attempt.queued = True
                slots = slots_for(urlsplit(url).netloc, self._auth and self._auth.fingerprint())
                await stack.enter_async_context(slots.slot(self.max_concurrency))
                attempt.queued = False
            return await run_where_names_resolve(self._exchange(url, content, headers, attempt))

    def _late(self, attempt: _Attempt, waited: float) -> errors.ServiceError:
        if not attempt.queued:
            return self._report.error(errors.TimedOut, f"did not answer completely within {waited:.1f} s")
        return self._report.error(
            errors.TimedOut,
            f"the request was not sent within {waited:.1f} s, because as many with the same key were under way as"
            f" max_concurrency={self.max_concurrency} allows",
            advice="raise max_concurrency or the timeout, or make fewer calls at once",
        )

    async def _exchange(self, url: str, content: bytes, headers: Mapping[str, str], attempt: _Attempt) -> JsonReply:
        sent = httpx.Headers(headers)
        sent.setdefault("Accept-Encoding", ", ".join(ENCODINGS))
        timeout = httpx.Timeout(self.timeout.read, connect=self.timeout.connect, pool=self.timeout.total)
        async with self._clients.turn(self._client_factory) as client:
            try:
                async with client.stream(
                    "POST",
                    url,
                    content=content,
                    headers=sent,
                    auth=self._auth or httpx.USE_CLIENT_DEFAULT,  # None would disable that of the user's client
                    timeout=timeout,
                    follow_redirects=False,
                ) as response:
                    if not response.is_success:
                        attempt.refusal = refusal = Refusal(response)
                        await refusal.read(min(_REFUSAL_SECONDS, self.timeout.total / 4))
                        raise self._report.refused(refusal, url)
                    await pause_if_busy()
                    reply, problem = await read_reply(response)
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

    def bad_reply(self, what: str, reply: JsonReply, *, advice: str | None = None) -> errors.BadReply:
        """See `Reporter.bad_reply`.

        Raise it outside any `except` block: the error handled there may quote the key, and its frames hold the payload.
        """
        return self._report.bad_reply(what, reply, advice=advice)

    def explanation(self, reply: JsonReply) -> str:
        """The error text in `reply`, for quoting; empty if there is none, or if the reply is too long for an error."""
        return self._report.explanation(reply.content) if len(reply.content) <= _MAX_ERROR_BYTES else ""

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_clients"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _clients=ClientsByLoop())
