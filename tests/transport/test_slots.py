"""`max_concurrency`: one limit per host and key for the whole process, and a wait that ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ksdk_rerank import JinaReranker
from ksdk_rerank._transport.slots import Slots, slots_for
from ksdk_rerank.errors import TimedOut
from ksdk_rerank.testing import Fault, LocalServer, Reply, Request

Call = Callable[..., Any]


class Counting(LocalServer):
    """Remembers how many requests it had at once at most, in all and by key."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._running = 0
        self._counts = threading.Lock()

    def answer(self, request: Request) -> Reply:
        with self._counts:
            self._running += 1
            self.peak = max(self.peak, self._running)
        time.sleep(0.003)
        with self._counts:
            self._running -= 1
        return Reply.json({"results": [{"index": 0, "relevance_score": 0.5}]})


@pytest.fixture
def server() -> Iterator[Counting]:
    with Counting() as server:
        yield server


def limited(server: LocalServer, key: str = "key-of-a-test", **options: Any) -> JinaReranker:
    return JinaReranker(**{"api_key": key, "base_url": server.url, "max_concurrency": 2, "timeout": 20.0, **options})


def test_rerankers_with_one_key_share_a_limit_across_threads_and_loops(server: Counting) -> None:
    one, other = limited(server), limited(server, model="jina-reranker-m0")

    async def many() -> None:
        await asyncio.gather(*(reranker.arank("q", ["a"]) for reranker in (one, other) * 6))

    with ThreadPoolExecutor() as pool, one, other:
        loops = [pool.submit(lambda: asyncio.run(many())) for _ in range(2)]
        calls = [pool.submit(reranker.rank, "q", ["a"]) for reranker in (one, other) * 6]
        for loop in loops:
            loop.result()
        assert all(call.result() for call in calls)
    assert len(server.requests) == 36
    assert server.peak == 2


def test_another_key_has_places_of_its_own_and_without_a_limit_nothing_is_counted(server: Counting) -> None:
    with ThreadPoolExecutor() as pool, limited(server, max_concurrency=1) as holder:
        with server.failing(Fault(delay=0.4), times=1):
            held = pool.submit(holder.rank, "q", ["a"])
            while not server.requests:
                time.sleep(0.001)
            with limited(server, "another-key") as other, limited(server, max_concurrency=None) as free:
                other.rank("q", ["a"])
                free.rank("q", ["a"])
            assert not held.done()
        held.result()


def test_a_request_without_a_place_times_out_and_says_why(call: Call, server: Counting) -> None:
    holder = limited(server, max_concurrency=1)
    with ThreadPoolExecutor() as pool, holder, server.failing(Fault(delay=0.4), times=1):
        holding = pool.submit(holder.rank, "q", ["a"])
        while not server.requests:
            time.sleep(0.001)
        with pytest.raises(TimedOut, match=r"not sent within 0\.1 s.*max_concurrency=1.*raise max_concurrency or"):
            call(limited(server, max_concurrency=1, timeout=0.1).rank, "q", ["a"])
        holding.result()
    assert len(server.requests) == 1
    with limited(server, max_concurrency=1) as reranker:  # and its place in the queue is gone
        assert call(reranker.rank, "q", ["a"])


async def test_places_go_to_those_that_still_wait_in_their_order() -> None:
    slots, order = Slots(), list[str]()

    async def use(name: str, limit: int = 1) -> None:
        async with slots.slot(limit):
            order.append(name)
            await asyncio.sleep(0)

    async with slots.slot(1):
        waiting = [asyncio.ensure_future(use(name)) for name in "abcd"]
        wider = asyncio.ensure_future(use("wider", limit=2))
        await asyncio.sleep(0)
        waiting[0].cancel()
        waiting[2].cancel()
        await asyncio.sleep(0)
        assert order == []
    waiting[1].cancel()  # its turn has just come
    await asyncio.gather(*waiting, wider, return_exceptions=True)
    assert order == ["d", "wider"]
    async with asyncio.timeout(5), slots.slot(1):
        pass


def test_a_forked_child_counts_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = slots_for("host", None)
    assert slots_for("host", None) is parents
    monkeypatch.setattr("ksdk_rerank._transport.slots.os.getpid", lambda: -1)
    assert slots_for("host", None) is not parents


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2"])
def test_what_is_no_number_of_requests_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="max_concurrency must be"):
        JinaReranker(api_key="key-of-a-test", max_concurrency=wrong)
