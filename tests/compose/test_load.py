"""A thousand calls at once, of a `Fallback` whose first service is down and whose second fails a fifth of the time."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from ksdk_rerank import Fallback, JinaReranker, Ranking, Timeout
from ksdk_rerank.testing import Fault, LocalServer, Reply, Request

DOCUMENTS = ["0.0023 piano keys", "0.9412 signing keys", "0.3175 keys after a leak"]
DEAD, ALIVE = Timeout(total=2.0, read=2.0), Timeout(total=60.0, read=2.0)
AT_ONCE = {"retry-after": "0"}
FAULTS = [
    Fault(status=500),
    Fault(status=503, headers=AT_ONCE),
    Fault(status=429, headers=AT_ONCE),
    Fault(status=402),
    Fault(status=502, body=b"<html>"),
    Fault(reset=True),
    Fault(cut_after="request"),
    Fault(cut_after=9),
    Fault(delay=60),
    Fault(body=b'{"results": [{"ind'),
    Fault(body={"results": [{"index": 0, "relevance_score": 0.5}] * 3}),
    Fault(body={"results": [{"index": True, "relevance_score": 0.5}]}),
    Fault(body={"error": "out of memory"}),
]


def answer(request: Request) -> Reply:
    texts: list[str] = request.json()["documents"]  # type: ignore[index]
    return Reply.json(
        {"results": [{"index": n, "relevance_score": float(text.split()[0])} for n, text in enumerate(texts)]}
    )


def faults() -> Iterator[Fault | None]:
    chance = random.Random(20261127)
    while True:
        yield chance.choice(FAULTS) if chance.random() < 0.2 else None


async def test_nothing_is_lost_every_call_is_in_time_and_the_dead_service_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passed = 0.0
    monkeypatch.setattr("ksdk_rerank.compose._circuit_breaker.monotonic", lambda: time.monotonic() + passed)
    seconds: list[float] = []

    async def rank(reranker: Fallback) -> Ranking:
        began = time.monotonic()
        ranking = await reranker.arank("keys", DOCUMENTS)
        seconds.append(time.monotonic() - began)
        return ranking

    with LocalServer() as dead, LocalServer(answer) as alive, alive.failing(faults()):
        dead.fault = Fault(delay=60)
        leaves: Any = [
            JinaReranker(api_key="key-of-a-test", base_url=dead.url, timeout=DEAD, model="dead"),
            JinaReranker(api_key="key-of-a-test", base_url=alive.url, timeout=ALIVE, model="alive"),
        ]
        async with Fallback([*leaves, "input-order"]) as reranker:
            await rank(reranker)
            assert len(dead.requests) == 1
            calls = [asyncio.ensure_future(rank(reranker)) for _ in range(500)]
            await asyncio.sleep(0)
            passed += 30  # the cool-down ends, and one of the next calls tries the dead service again
            calls += [asyncio.ensure_future(rank(reranker)) for _ in range(500)]
            rankings = await asyncio.gather(*calls)
        assert len(dead.requests) == 2

    answered = Counter(ranking.reranked_by for ranking in rankings)
    for ranking in rankings:
        assert ranking.indices == ((0, 1, 2) if ranking.reranked_by == "input-order" else (1, 2, 0))
        assert ranking.failures[0].reranker == "jina:dead"
    assert sum(not ranking.failures[0].skipped for ranking in rankings) == 1
    assert answered.keys() == {"jina:alive", "input-order"}
    assert answered["jina:alive"] > 800
    assert statistics.quantiles(seconds, n=100)[98] < DEAD.total + ALIVE.total
