"""Many calls at once take turns, with each other and with everybody else on the loop, and keep their connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import httpx
import pytest

from ksdk_rerank._transport import connections
from ksdk_rerank._transport.connections import ClientsByLoop, default_client
from ksdk_rerank._transport.pacing import pause_if_busy
from ksdk_rerank._transport.service import HttpService
from ksdk_rerank.testing import LocalServer, Reply


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(lambda request: Reply.json({})) as server:
        yield server


async def test_work_that_begins_together_is_spread_over_several_rounds_of_the_loop() -> None:
    rounds = 0

    async def count_rounds() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    async def work() -> None:
        await pause_if_busy()
        time.sleep(0.002)  # noqa: ASYNC251 - it stands for encoding a request

    counting = asyncio.ensure_future(count_rounds())
    await asyncio.gather(*(work() for _ in range(100)))
    counting.cancel()
    assert rounds >= 20  # 200 ms of work, 5 ms and at most one piece more in each


async def test_without_much_work_nobody_waits() -> None:
    began = asyncio.get_running_loop().time()
    for _ in range(1000):
        await pause_if_busy()
    assert asyncio.get_running_loop().time() - began < 1.0


async def test_connections_are_used_again(server: LocalServer) -> None:
    service = HttpService("Example", timeout=10.0)
    for _ in range(3):
        await asyncio.gather(*(service.apost(server.url, {}) for _ in range(20)))
    assert len(server.requests) == 60
    assert len(server._open) <= 20
    for _ in range(10):
        await service.apost(server.url, {})
    assert len(server._open) <= 20
    await service.aclose()


async def test_no_more_requests_are_under_way_than_there_are_connections(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_CONNECTIONS", 3)
    made: list[httpx.AsyncClient] = []

    def factory() -> httpx.AsyncClient:
        made.append(default_client())
        return made[-1]

    service = HttpService("Example", timeout=10.0, client_factory=factory)
    await asyncio.gather(*(service.apost(server.url, {}) for _ in range(20)))
    assert len(server.requests) == 20
    assert 1 <= len(made) <= 3
    await service.aclose()
    assert all(client.is_closed for client in made)


async def test_a_connection_that_nobody_needs_any_more_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = ClientsByLoop()
    async with clients.turn(default_client) as first, clients.turn(default_client) as second:
        assert first is not second
    monkeypatch.setattr(connections, "_IDLE", -1.0)
    async with clients.turn(default_client) as again:
        assert again is first  # the one given back last
    assert (first.is_closed, second.is_closed) == (False, True)
    await clients.close()
    assert first.is_closed
