"""Connections: one `httpx.AsyncClient` an event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from functools import cache
from ssl import SSLContext

import httpx

from ksdk_rerank import __version__

__all__ = ["ClientsByLoop", "default_client"]


class ClientsByLoop:
    """One `httpx.AsyncClient` an event loop: connections cannot move between loops.

    Each is closed when its loop shuts down, by way of an asynchronous generator that the loop knows of:
    `asyncio.run` and its kin close those before they close the loop.
    """

    def __init__(self) -> None:
        self._open: dict[asyncio.AbstractEventLoop, tuple[httpx.AsyncClient, AsyncGenerator[None]]] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    async def of_running_loop(self, factory: Callable[[], httpx.AsyncClient]) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        if loop not in self._open:
            for other in [other for other in self._open if other.is_closed()]:
                del self._open[other]
            client = factory()
            closing = self._close_with(loop, client)
            self._open[loop] = (client, closing)
            await anext(closing)
        return self._open[loop][0]

    async def _close_with(self, loop: asyncio.AbstractEventLoop, client: httpx.AsyncClient) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self._open.pop(loop, None)
            await client.aclose()

    async def close(self) -> None:
        if opened := self._open.get(asyncio.get_running_loop()):
            await opened[1].aclose()


def default_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        verify=_ssl_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
        headers={"User-Agent": f"ksdk-rerank/{__version__}"},
        limits=httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30.0),
    )


@cache
def _ssl_context(cert_file: str | None, cert_dir: str | None) -> SSLContext:
    """The context that httpx makes (it reads the same two variables), made once: it takes tens of milliseconds."""
    return httpx.create_ssl_context()
