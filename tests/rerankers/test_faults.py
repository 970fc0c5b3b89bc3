"""The leaves over HTTP against a service that misbehaves: in time, no key shown, and nothing lost.

`tests/transport` holds the statuses, deadlines and connections; `test_fault_matrix.py` has an overview.

The faults come from a real server on 127.0.0.1, through the real httpx and, for Cohere, the real SDK.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import random
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ksdk_rerank import Fallback, errors
from ksdk_rerank._transport import retry
from ksdk_rerank.results import Ranking
from ksdk_rerank.testing import Fault

Call = Callable[..., Any]

QUERY = "How often do signing keys rotate?"
DOCUMENTS = ["0.0023 piano keys", "0.9412 signing keys", "0.3175 keys after a leak"]
RIGHT = [(1, 0.9412), (2, 0.3175), (0, 0.0023)]
NOW = {"retry-after": "0"}  # so that a second attempt comes at once


def found(ranking: Ranking) -> list[tuple[int, float | None]]:
    return [(ranked.index, ranked.raw_score) for ranked in ranking]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("NO_PROXY", "127.0.0.1,[::1]"), ("ALL_PROXY", "http://u:s3cret@proxy:port"), ("SSL_CERT_FILE", "/no/such/file")],
)
def test_an_environment_that_cannot_be_used_moves_a_fallback_on(
    route: Any, variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with Fallback([route.reranker(timeout=5.0, retries=2), "input-order"]) as reranker:
        ranking = reranker.rank(QUERY, DOCUMENTS)
    assert ranking.reranked_by == "input-order"
    assert [failure.error for failure in ranking.failures] == ["InvalidEnvironment"]
    assert f"{variable} is " in ranking.failures[0].message
    assert "s3cret" not in ranking.failures[0].message
    assert route.server.requests == []


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_backoff", lambda state: 0.01)


@pytest.mark.usefixtures("quick_backoff")
def test_a_failure_that_passes_costs_nothing_but_time(call: Call, route: Any) -> None:
    failing = route.server.failing([Fault(status=429, headers=NOW), Fault(reset=True)])
    with route.reranker(timeout=5.0, retries=2) as leaf, failing:
        ranking = call(leaf.rank, QUERY, DOCUMENTS)
    assert found(ranking) == RIGHT
    assert len(route.server.requests) == 3


def test_a_provider_s_own_words_are_in_the_error(provider: Any) -> None:
    with (
        provider.reranker(timeout=5.0) as leaf,
        provider.server.failing(Fault(status=422, body=provider.wire["error"])),
        pytest.raises(errors.BadRequest) as raised,
    ):
        leaf.rank(QUERY, DOCUMENTS)
    assert provider.wire["said"] in str(raised.value)


def test_a_deadline_holds_whatever_the_server_does(call: Call, route: Any) -> None:
    with (
        route.reranker(timeout=0.2, retries=9) as leaf,
        route.server.failing(Fault(drip_body=0.05)),
        pytest.raises(errors.TimedOut),
    ):
        call(leaf.rank, QUERY, DOCUMENTS)


def test_the_documented_reply_is_read_whatever_else_is_in_it(provider: Any) -> None:
    wire = provider.wire
    body = wire["reply"] if isinstance(wire["reply"], list) else {**wire["reply"], "usage": None, "meta": [1], "x": {}}
    with provider.reranker(timeout=5.0) as leaf, provider.server.failing(Fault(body=body)):
        ranking = leaf.rank(QUERY, DOCUMENTS)
    assert found(ranking) == RIGHT


def test_the_key_shows_up_nowhere(
    call: Call, route: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "sentinel-4f1d2c"
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(retry, "_backoff", lambda state: 0.01)
    leaf = route.reranker(api_key=secret, timeout=5.0, retries=1)
    quoted = Fault(status=401, body={"message": f"{'x' * 480}the key {secret} is wrong"}, headers={"x-request-id": "r"})
    shown = [repr(leaf), str(leaf.parameters()), str(vars(leaf)), repr(pickle.dumps(leaf))]
    faults = [quoted, Fault(body={"echo": secret}), Fault(body=secret.encode()), Fault(reset=True), Fault(delay=9.0)]
    raised: list[BaseException] = []
    with leaf:
        call(leaf.rank, QUERY, DOCUMENTS)
        assert route.server.requests[-1].headers["authorization"] == f"Bearer {secret}"
        for fault in faults:
            with route.server.failing(fault), pytest.raises(errors.ServiceError) as caught:
                call(
                    (leaf if fault.delay == 0 else route.reranker(api_key=secret, timeout=0.2)).rank,
                    QUERY,
                    DOCUMENTS,
                )
            raised.append(caught.value)
    for error in raised:
        shown += [str(error), repr(error), str(vars(error)), repr(pickle.dumps(error))]
        shown += "".join(traceback.format_exception(error)), *_locals_of_all_frames(error)
    shown += [record.getMessage() for record in caplog.records]
    assert [text for text in shown if secret in text] == []
    assert [text for text in shown if "sentinel" in text] == []  # nor half of it, where a text was cut


def _locals_of_all_frames(error: BaseException) -> Iterator[str]:
    seen: BaseException | None = error
    while seen is not None:
        for frame in traceback.TracebackException.from_exception(seen, capture_locals=True).stack:
            if frame.filename != __file__:
                yield str(frame.locals)
        seen = seen.__cause__ or seen.__context__


async def test_a_fifth_of_all_replies_failing_loses_no_document(
    provider_named: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Through Cohere's SDK; `tests/compose/test_load.py` has the same with more calls, and directly."""
    calls = 100
    chance = random.Random(20261123)
    provider = provider_named("cohere")
    faults = [
        Fault(status=500),
        Fault(status=503, headers=NOW),
        Fault(status=429),
        Fault(status=502, body=b"<html>"),
        Fault(reset=True),
        Fault(cut_after=9),
        Fault(body=b'{"results": [{"ind'),
        Fault(body=provider.body([(0, 0.1), (0, 0.2), (1, 0.3)])),
        Fault(body=provider.body([(True, 0.1), (0, 0.2), (2, 0.3)])),
    ]

    def plan() -> Iterator[Fault | None]:
        while True:
            yield chance.choice(faults) if chance.random() < 0.2 else None

    shuffled = [chance.sample(DOCUMENTS, len(DOCUMENTS)) for _ in range(calls)]
    async with Fallback([provider.reranker(timeout=20.0, retries=1), "input-order"], cool_down=None) as reranker:
        with provider.server.failing(plan()):
            rankings = await asyncio.gather(*(reranker.arank(QUERY, documents) for documents in shuffled))
    answered: Counter[str] = Counter()
    for documents, ranking in zip(shuffled, rankings, strict=True):
        answered[ranking.reranked_by] += 1
        assert Counter(ranked.document for ranked in ranking) == Counter(documents)
        assert all(documents[ranked.index] == ranked.document for ranked in ranking)
        if ranking.reranked_by == "input-order":
            assert [ranked.score for ranked in ranking] == [None] * 3
            assert [failure.reranker for failure in ranking.failures] == [reranker.rerankers[0].name]
        else:
            assert [ranked.raw_score for ranked in ranking] == [float(r.document.split()[0]) for r in ranking]
            assert ranking.failures == ()
    assert 0 < answered["input-order"] < calls / 2
    assert sum("answered instead" in record.getMessage() for record in caplog.records) == answered["input-order"]
