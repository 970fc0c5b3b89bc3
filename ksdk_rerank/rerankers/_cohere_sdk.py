"""How Cohere's SDK sends its request over this library's own connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from ksdk_rerank._transport.json_reply import JsonReply
from ksdk_rerank._transport.service import HttpService
from ksdk_rerank.errors import MissingExtra

__all__ = ["Carrier", "sdk_client"]


class Carrier(httpx.AsyncBaseTransport):
    """Sends the SDK's single request through our `HttpService` to the right URL, and keeps the raw reply.

    The SDK itself gets an empty list of results. Its own result objects apply `int(index)`, which would turn `true`
    into document 1 and `"0"` into document 0, and building them takes longer than the rest of the call.
    """

    def __init__(self, service: HttpService, url: str) -> None:
        self._service = service
        self._url = url
        self.reply: JsonReply | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        kept = ("accept", "content-type", "user-agent", "x-client-name")
        headers = {name: value for name, value in request.headers.items() if name in kept or name.startswith("x-fern")}
        self.reply = await self._service.asend(self._url, await request.aread(), headers)
        return httpx.Response(200, json={"results": []})


def sdk_client() -> Callable[..., Any]:
    """The SDK's asynchronous client class. Raises `MissingExtra` if it is not installed."""
    try:
        from cohere import AsyncClientV2
    except ImportError as error:
        raise MissingExtra.of("cohere", "CohereReranker") from error
    return AsyncClientV2
