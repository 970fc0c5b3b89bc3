"""HTTP clients, kept per event loop because connections cannot move between loops."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ssl import SSLContext

import httpx

from ksdk_rerank._transport.environment import why_no_client
from ksdk_rerank._transport.failed_replies import LOCATION
from ksdk_rerank._transport.statuses import ADVICE
from ksdk_rerank._version import __version__
from ksdk_rerank.errors import InvalidEnvironment

__all__ = ["ClientsByLoop", "default_client"]

_CONNECTIONS = 50  # per service and loop; further requests wait (benchmarks/http_overhead.py)
_IDLE = 30.0  # seconds after which an unused connection is closed

_closing: set[asyncio.Task[None]] = set()  # strong references: a loop holds its tasks only weakly
_taken: weakref.WeakSet[httpx.AsyncClient] = weakref.WeakSet()  # all clients that a factory has returned


@dataclass(slots=True)
class _Loop:
    """One loop's clients. `idle` holds those not in use, ordered by last use, the most recent last."""

    closing: AsyncGenerator[None]
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONNECTIONS))
    idle: list[tuple[httpx.AsyncClient, float]] = field(default_factory=list)


_Loops = dict[asyncio.AbstractEventLoop, _Loop]


class ClientsByLoop:
    """The clients of one service, created on demand: one per concurrent request.

    Each client serves one request at a time, so it holds one connection. This bypasses httpx's own connection pool,
    which is slow: whenever a request starts or ends, it scans all connections once per idle connection. With a hundred
    connections this blocks the loop for seconds (httpcore 1.0, `_assign_requests_to_connections`; measured by
    benchmarks/http_overhead.py).

    Clients are closed when their loop shuts down. An asynchronous generator registered with the loop does this:
    `asyncio.run` and similar runners close such generators before the loop. Clients are also closed when the service
    is garbage-collected.
    """

    def __init__(self) -> None:
        self._loops: _Loops = {}
        weakref.finalize(self, _close_all, self._loops).atexit = False

    def __len__(self) -> int:
        return len(self._loops)

    @asynccontextmanager
    async def turn(self, factory: Callable[[], httpx.AsyncClient]) -> AsyncIterator[httpx.AsyncClient]:
        """Lend a client of the running loop for one request. `factory` creates one if none is idle.

        Raises `TypeError` if `factory` returns anything but a new, open client.
        """
        loop = asyncio.get_running_loop()
        here = self._loops.get(loop) or await self._of(loop)
        async with here.turns:
            if len(here.idle) > 1 and loop.time() - here.idle[0][1] > _IDLE:
                unneeded, _ = here.idle.pop(0)
                with suppress(Exception):  # this request does not need it
                    await unneeded.aclose()
            client = here.idle.pop()[0] if here.idle else _new_client(factory)
            try:
                yield client
            finally:
                if self._loops.get(loop) is here:
                    here.idle.append((client, loop.time()))
                else:  # closed in the meantime
                    await client.aclose()

    async def _of(self, loop: asyncio.AbstractEventLoop) -> _Loop:
        for other in [other for other in list(self._loops) if other.is_closed()]:  # a copy: other threads may add loops
            self._loops.pop(other, None)
        here = self._loops[loop] = _Loop(_close_at_end(self._loops, loop))
        await anext(here.closing)
        return here

    async def close(self) -> None:
        """Close the running loop's clients: those in use as soon as their requests end."""
        if here := self._loops.get(asyncio.get_running_loop()):
            await here.closing.aclose()


def _new_client(factory: Callable[[], httpx.AsyncClient]) -> httpx.AsyncClient:
    client = factory()
    if not isinstance(client, httpx.AsyncClient):
        returned = f"a {type(client).__name__}"
    elif client in _taken:  # by any service or loop: one would close it while another uses it
        returned = "one that it had returned before"
    elif client.is_closed:
        returned = "a closed one"
    else:
        _taken.add(client)
        return client
    raise TypeError(
        "client_factory must return a new httpx.AsyncClient each time, because they are closed for you; it returned"
        f" {returned}"
    )


async def _close_at_end(loops: _Loops, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        here = loops.pop(loop)
        async with AsyncExitStack() as stack:  # closes all of them, even if one fails
            for client, _ in here.idle:
                stack.push_async_callback(client.aclose)


def _close_all(loops: _Loops) -> None:
    async def close(closing: AsyncGenerator[None]) -> None:
        await closing.aclose()

    def start(closing: AsyncGenerator[None]) -> None:
        task = asyncio.ensure_future(close(closing))
        _closing.add(task)
        task.add_done_callback(_closing.discard)

    for loop, here in list(loops.items()):
        with suppress(RuntimeError):  # the loop is closed, and so are its clients
            loop.call_soon_threadsafe(start, here.closing)


def default_client(service: str = "the client") -> httpx.AsyncClient:
    """A client with verified TLS, keep-alive connections, proxies from the environment, and no cookies.

    Raises `InvalidEnvironment`, naming `service`, if a proxy or certificate variable cannot be used.
    """
    try:
        return httpx.AsyncClient(
            verify=_ssl_context(*map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"))),
            headers={"User-Agent": f"ksdk-rerank/{__version__}"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # keeps none: calls are independent
            limits=httpx.Limits(keepalive_expiry=_IDLE),
            event_hooks={"response": [_redirect_kept]},
        )
    except Exception as error:  # only the environment can be at fault here
        why = why_no_client(error)
    # Raised outside the handler, because httpx's own error may quote half of a proxy's password.
    raise InvalidEnvironment(f"{service}: {why}; {ADVICE[InvalidEnvironment]}", service=service)


async def _redirect_kept(response: httpx.Response) -> None:
    """Hide a redirect's target from httpx, which fails on a malformed one even when it does not follow redirects."""
    if location := response.headers.pop("location", None):
        response.extensions[LOCATION] = location


@cache
def _ssl_context(*variables: str | None) -> SSLContext:
    """The context that httpx creates (it reads the same variables), cached because that takes tens of milliseconds."""
    return httpx.create_ssl_context()
