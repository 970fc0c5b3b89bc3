"""`timeout` and `max_waiting`: a local call that takes too long or finds too many others gives up, as a remote one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from tiny_models import bert_tokenizer

from ksdk_rerank import CrossEncoderReranker, Fallback, LongDocuments
from ksdk_rerank._fingerprint import identity
from ksdk_rerank.engines import pool, select
from ksdk_rerank.engines.batching import Batch
from ksdk_rerank.engines.encoding import PairEncoder
from ksdk_rerank.engines.engine import Engine, ModelSettings
from ksdk_rerank.engines.scoring import Model
from ksdk_rerank.errors import Overloaded, RerankError, TimedOut

Call = Callable[..., Any]

QUERY = "how do i rotate an api key"


class Held(Engine):
    """Every batch waits until the test lets it go."""

    backend = "held"
    budget = 1

    def __init__(self) -> None:
        self.tokenizer = bert_tokenizer()
        self.go_on = threading.Event()
        self.begun = threading.Event()
        self.batches = 0

    def forward(self, batch: Batch) -> np.ndarray:
        self.batches += 1
        self.begun.set()
        assert self.go_on.wait(20)
        logits: np.ndarray = batch.mask.sum(axis=1).astype(np.float32)
        return logits


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """The engine of whatever model is loaded now."""
    engine = Held()
    model = Model(engine, PairEncoder(engine.tokenizer, 64, "held"), pad_id=0)
    monkeypatch.setattr(select, "load", lambda settings: model)
    monkeypatch.setattr(pool, "streams_and_threads", lambda: (1, 1))
    yield engine
    engine.go_on.set()


@pytest.fixture
def slow_load(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Models are loaded when the event is set."""
    go_on, load = threading.Event(), select.load

    def loaded(settings: ModelSettings) -> Model:
        assert go_on.wait(20)
        return load(settings)

    monkeypatch.setattr(select, "load", loaded)
    yield go_on
    go_on.set()


def test_a_call_that_takes_too_long_says_after_how_many_seconds_and_what_to_do(call: Call, held: Held) -> None:
    with pytest.raises(
        TimedOut, match=r"held did not answer within timeout=0\.2 seconds.*raise timeout.*Fallback"
    ) as e:
        call(CrossEncoderReranker("held", timeout=0.2).rank, QUERY, ["key", "invoice", "month"])
    assert (e.value.service, e.value.transient) == ("held", True)
    assert isinstance(e.value, TimeoutError)


def test_it_leaves_the_queue_between_two_batches(call: Call, held: Held) -> None:
    reranker = CrossEncoderReranker("held", timeout=0.2)
    with pytest.raises(TimedOut):
        call(reranker.rank, QUERY, ["key", "invoice", "month"])
    held.go_on.set()
    assert len(call(CrossEncoderReranker("held").rank, QUERY, ["key"])) == 1
    assert held.batches == 2  # one of three, and the next call's


def test_a_call_that_only_waits_is_never_begun(call: Call, held: Held) -> None:
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(CrossEncoderReranker("held").rank, QUERY, ["key"])
        assert held.begun.wait(10)
        with pytest.raises(TimedOut, match="calls in progress: 1"):
            call(CrossEncoderReranker("held", timeout=0.2).rank, QUERY, ["invoice"])
        held.go_on.set()
        assert len(running.result(10)) == 1
    assert held.batches == 1


def test_a_call_within_its_time_is_as_any_other(call: Call, tiny_bert: str) -> None:
    documents = ["key", "invoice", ""]
    for timeout in (60, 60.0, np.float64(60), 1e300):
        reranker = CrossEncoderReranker(tiny_bert, timeout=timeout, max_waiting=0)
        assert call(reranker.rank, QUERY, documents) == call(CrossEncoderReranker(tiny_bert).rank, QUERY, documents)


def test_loading_counts_and_goes_on_for_the_next_call(call: Call, tiny_bert: str, slow_load: threading.Event) -> None:
    reranker = CrossEncoderReranker(tiny_bert, timeout=0.2)
    with pytest.raises(TimedOut, match="still loading"):
        call(reranker.rank, QUERY, ["key"])
    (model,) = pool._runners.values()
    assert model._model is None
    slow_load.set()
    while model._model is None:
        time.sleep(0.01)
    before = model._model
    patient = CrossEncoderReranker(tiny_bert, timeout=60)
    assert len(call(patient.rank, QUERY, ["key"])) == 1
    assert model._model is before


@pytest.mark.parametrize(
    "ask",
    [
        lambda reranker: reranker.count_tokens(["key"]),
        lambda reranker: reranker.document_room(QUERY),
        lambda reranker: reranker.engine,
        lambda reranker: LongDocuments(reranker).rank(QUERY, ["key " * 100]),
    ],
    ids=["count_tokens", "document_room", "engine", "LongDocuments"],
)
def test_whatever_needs_the_model_waits_for_it_no_longer(
    tiny_bert: str, slow_load: threading.Event, ask: Callable[[CrossEncoderReranker], object]
) -> None:
    with pytest.raises(TimedOut, match="still loading"):
        ask(CrossEncoderReranker(tiny_bert, timeout=0.2))


def test_tokens_are_counted_while_the_model_is_busy(held: Held) -> None:
    reranker = CrossEncoderReranker("held", timeout=10)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(reranker.rank, QUERY, ["key"])
        assert held.begun.wait(10)
        assert reranker.count_tokens(["the key"]) == [2]
        held.go_on.set()
        running.result(10)


def test_a_call_beyond_those_that_may_wait_is_refused_at_once(call: Call, held: Held) -> None:
    reranker = CrossEncoderReranker("held", max_waiting=1)
    with ThreadPoolExecutor(2) as threads:
        running = threads.submit(reranker.rank, QUERY, ["key"])
        assert held.begun.wait(10)
        waiting = threads.submit(reranker.rank, QUERY, ["key"])
        (model,) = pool._runners.values()
        while model._scheduler.in_progress() < 2:
            time.sleep(0.01)
        with pytest.raises(Overloaded, match=r"held is busy: 2 calls .* max_waiting=1") as error:
            call(reranker.rank, QUERY, ["key"])
        assert error.value.transient
        held.go_on.set()
        assert len(running.result(10)) == len(waiting.result(10)) == 1


@pytest.mark.parametrize(("options", "error"), [({"timeout": 0.2}, "TimedOut"), ({"max_waiting": 0}, "Overloaded")])
def test_fallback_moves_on(call: Call, held: Held, options: dict[str, Any], error: str) -> None:
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(CrossEncoderReranker("held").rank, QUERY, ["key"])
        assert held.begun.wait(10)
        ranking = call(Fallback([CrossEncoderReranker("held", **options), "input-order"]).rank, QUERY, ["key"])
        held.go_on.set()
        running.result(10)
    assert ranking.reranked_by == "input-order"
    assert [failure.error for failure in ranking.failures] == [error]


async def test_a_crowd_on_one_event_loop_is_answered_or_refused(held: Held) -> None:
    reranker = CrossEncoderReranker("held", timeout=5, max_waiting=3)
    asyncio.get_running_loop().call_later(0.2, held.go_on.set)
    outcomes = await asyncio.gather(*(reranker.arank(QUERY, ["key"]) for _ in range(20)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)] == [Overloaded] * 16
    assert all(isinstance(outcome, RerankError) or len(outcome) == 1 for outcome in outcomes)  # type: ignore[arg-type]


async def test_a_task_that_is_cancelled_is_cancelled_and_did_not_time_out(held: Held) -> None:
    task = asyncio.create_task(CrossEncoderReranker("held", timeout=30).arank(QUERY, ["key"]))
    await asyncio.to_thread(held.begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_time_out_inside_the_model_is_not_taken_for_the_calls_own(
    call: Call, tiny_bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(settings: ModelSettings) -> Model:
        raise TimeoutError("of the disk")

    monkeypatch.setattr(select, "load", load)
    with pytest.raises(TimeoutError, match="of the disk"):
        call(CrossEncoderReranker(tiny_bert, timeout=30).rank, QUERY, ["key"])


def test_rerankers_that_wait_for_different_times_share_their_weights_and_what_is_remembered(tiny_bert: str) -> None:
    plain = CrossEncoderReranker(tiny_bert)
    hasty = CrossEncoderReranker(tiny_bert, timeout=30, max_waiting=5)
    for reranker in (plain, hasty):
        reranker.rank(QUERY, ["key"])
    assert len(pool._runners) == 1
    assert identity(plain, "u") == identity(hasty, "u")
