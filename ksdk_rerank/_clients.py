"""Connections: one `httpx.AsyncClient` an event loop, because connections cannot move between loops."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from functools import cache
from ssl import SSLContext

import httpx

from ksdk_rerank import __version__

__all__ = ["ClientsByLoop", "default_client"]

_Opened = dict[asyncio.AbstractEventLoop, tuple[httpx.AsyncClient, AsyncGenerator[None]]]

_closing: set[asyncio.Task[None]] = set()  # a loop holds its tasks only weakly


class ClientsByLoop:
    """The clients of one service, each made at first use.

    A client is closed when its loop shuts down, by way of an asynchronous generator that the loop knows of:
    `asyncio.run` and its kin close those before they close the loop. Dropping the service closes them, too.
    """

    def __init__(self) -> None:
        self._opened: _Opened = {}
        weakref.finalize(self, _close_all, self._opened).atexit = False

    def __len__(self) -> int:
        return len(self._opened)

    async def of_running_loop(self, factory: Callable[[], httpx.AsyncClient]) -> httpx.AsyncClient:
        """The running loop's client; `factory` makes it at the first call."""
        loop = asyncio.get_running_loop()
        if loop not in self._opened:
            for other in [other for other in self._opened if other.is_closed()]:
                del self._opened[other]
            client = factory()
            closing = _close_at_end(self._opened, loop, client)
            self._opened[loop] = (client, closing)
            await anext(closing)
        return self._opened[loop][0]

    async def close(self) -> None:
        """Close the running loop's client."""
        if opened := self._opened.get(asyncio.get_running_loop()):
            await opened[1].aclose()


async def _close_at_end(
    opened: _Opened, loop: asyncio.AbstractEventLoop, client: httpx.AsyncClient
) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        opened.pop(loop, None)
        await client.aclose()


def _close_all(opened: _Opened) -> None:
    async def close(closing: AsyncGenerator[None]) -> None:
        await closing.aclose()

    def start(closing: AsyncGenerator[None]) -> None:
        task = asyncio.ensure_future(close(closing))
        _closing.add(task)
        task.add_done_callback(_closing.discard)

    for loop, (_, closing) in list(opened.items()):
        with suppress(RuntimeError):  # that loop is closed, and its client with it
            loop.call_soon_threadsafe(start, closing)


def default_client() -> httpx.AsyncClient:
    """A client with verified TLS, kept-alive connections and proxies from the environment."""
    return httpx.AsyncClient(
        verify=_ssl_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
        headers={"User-Agent": f"ksdk-rerank/{__version__}"},
        limits=httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30.0),
    )


@cache
def _ssl_context(cert_file: str | None, cert_dir: str | None) -> SSLContext:
    """The context that httpx makes (it reads the same two variables), made once: it takes tens of milliseconds."""
    return httpx.create_ssl_context()
