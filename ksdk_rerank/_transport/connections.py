"""Connections: kept for one event loop each, because they cannot move between loops."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from ssl import SSLContext

import httpx

from ksdk_rerank._transport.environment import why_no_client
from ksdk_rerank._transport.failed_replies import LOCATION
from ksdk_rerank._transport.statuses import ADVICE
from ksdk_rerank._version import __version__
from ksdk_rerank.errors import InvalidEnvironment

__all__ = ["ClientsByLoop", "default_client"]

_CONNECTIONS = 50  # of one service on one loop; further requests wait their turn (benchmarks/http_overhead.py)
_IDLE = 30.0  # seconds after which a connection that nobody needs is closed

_closing: set[asyncio.Task[None]] = set()  # a loop holds its tasks only weakly


@dataclass(slots=True)
class _Loop:
    """One loop's clients. `idle` has the one used last at its end."""

    closing: AsyncGenerator[None]
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONNECTIONS))
    clients: set[httpx.AsyncClient] = field(default_factory=set)
    idle: list[tuple[httpx.AsyncClient, float]] = field(default_factory=list)


_Loops = dict[asyncio.AbstractEventLoop, _Loop]


class ClientsByLoop:
    """The clients of one service, made as they are needed: one for each request that is under way at a time.

    A client serves one request after another, so it has one connection, and the pool inside httpx is not used as one:
    it walks through all its connections, for every one that is idle, whenever a request comes or goes, which blocks
    the loop for seconds where there are a hundred (httpcore 1.0, `_assign_requests_to_connections`; measured by
    benchmarks/http_overhead.py).

    Clients are closed when their loop shuts down, by way of an asynchronous generator that the loop knows of:
    `asyncio.run` and its kin close those before they close the loop. Dropping the service closes them, too.
    """

    def __init__(self) -> None:
        self._loops: _Loops = {}
        weakref.finalize(self, _close_all, self._loops).atexit = False

    def __len__(self) -> int:
        return len(self._loops)

    @asynccontextmanager
    async def turn(self, factory: Callable[[], httpx.AsyncClient]) -> AsyncIterator[httpx.AsyncClient]:
        """A client of the running loop, for one request. `factory` makes it where none is idle."""
        loop = asyncio.get_running_loop()
        here = self._loops.get(loop) or await self._of(loop)
        async with here.turns:
            if len(here.idle) > 1 and loop.time() - here.idle[0][1] > _IDLE:
                unneeded, _ = here.idle.pop(0)
                here.clients.discard(unneeded)
                await unneeded.aclose()
            client = here.idle.pop()[0] if here.idle else factory()
            here.clients.add(client)
            try:
                yield client
            finally:
                here.idle.append((client, loop.time()))

    async def _of(self, loop: asyncio.AbstractEventLoop) -> _Loop:
        for other in [other for other in list(self._loops) if other.is_closed()]:  # threads add theirs meanwhile
            self._loops.pop(other, None)
        here = self._loops[loop] = _Loop(_close_at_end(self._loops, loop))
        await anext(here.closing)
        return here

    async def close(self) -> None:
        """Close the running loop's clients."""
        if here := self._loops.get(asyncio.get_running_loop()):
            await here.closing.aclose()


async def _close_at_end(loops: _Loops, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        here = loops.pop(loop)
        for client in here.clients:
            await client.aclose()


def _close_all(loops: _Loops) -> None:
    async def close(closing: AsyncGenerator[None]) -> None:
        await closing.aclose()

    def start(closing: AsyncGenerator[None]) -> None:
        task = asyncio.ensure_future(close(closing))
        _closing.add(task)
        task.add_done_callback(_closing.discard)

    for loop, here in list(loops.items()):
        with suppress(RuntimeError):  # that loop is closed, and its clients with it
            loop.call_soon_threadsafe(start, here.closing)


def default_client(service: str = "the client") -> httpx.AsyncClient:
    """A client with verified TLS, kept-alive connections and proxies from the environment."""
    try:
        return httpx.AsyncClient(
            verify=_ssl_context(*map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"))),
            headers={"User-Agent": f"ksdk-rerank/{__version__}"},
            limits=httpx.Limits(keepalive_expiry=_IDLE),
            event_hooks={"response": [_redirect_kept]},
        )
    except Exception as error:  # nothing but the environment can be wrong here
        why = why_no_client(error)
    # Outside of the handler: httpx's own error may quote half of a proxy's password.
    raise InvalidEnvironment(f"{service}: {why}; {ADVICE[InvalidEnvironment]}", service=service)


async def _redirect_kept(response: httpx.Response) -> None:
    """Put a redirect's target out of httpx's sight, which fails on a malformed one even if it is not to follow it."""
    if location := response.headers.pop("location", None):
        response.extensions[LOCATION] = location


@cache
def _ssl_context(*variables: str | None) -> SSLContext:
    """The context that httpx makes (it reads the same variables), made once: it takes tens of milliseconds."""
    return httpx.create_ssl_context()
