"""Who goes next: with a model that takes its steps when the test says so."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_models import bert_tokenizer

from ksdk_rerank.concurrency.worker import Worker
from ksdk_rerank.engines import scheduler as module
from ksdk_rerank.engines.batching import Batch
from ksdk_rerank.engines.encoding import PairEncoder
from ksdk_rerank.engines.engine import Engine
from ksdk_rerank.engines.scheduler import Scheduler
from ksdk_rerank.engines.scoring import Job, Model
from ksdk_rerank.errors import InferenceFailed, Overloaded
from ksdk_rerank.scores import Scores


class Slow(Engine):
    """Its logit is the number of tokens of a pair. Each batch waits for a permit."""

    backend = "slow"

    def __init__(self, streams: int = 1, budget: int = 40) -> None:
        self.tokenizer = bert_tokenizer()
        self.streams, self.budget = streams, budget
        self.permits = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.batches: list[list[int]] = []
        self.error: Exception | None = None

    def forward(self, batch: Batch) -> np.ndarray:
        lengths = batch.mask.sum(axis=1)
        self.batches.append(sorted(lengths.tolist(), reverse=True))
        self.begun.release()
        assert self.permits.acquire(timeout=10)
        if self.error is not None:
            raise self.error
        logits: np.ndarray = lengths.astype(np.float32)
        return logits


def model_of(engine: Slow) -> Model:
    return Model(engine, PairEncoder(engine.tokenizer, 64, "slow"), pad_id=0)


class Bench(SimpleNamespace):
    engine: Slow
    scheduler: Scheduler
    worker: Worker
    model: Model

    def join(self, query: str, documents: list[str], max_waiting: int | None = None) -> Future[list[Scores]]:
        return self.scheduler.join(Job(lambda: self.model, [(query, documents)]), max_waiting)

    def next_batch(self) -> list[int]:
        """The lengths of the batch that begins next."""
        assert self.engine.begun.acquire(timeout=10)
        return self.engine.batches[-1]


@pytest.fixture
def bench() -> Iterator[Bench]:
    engine, worker = Slow(), Worker("test")
    yield Bench(engine=engine, scheduler=Scheduler(worker), worker=worker, model=model_of(engine))
    for _ in range(99):
        engine.permits.release()
    worker.drain()


def words(count: int) -> str:
    """A document whose pair with "key" has `count` tokens; the other four are the query and what is special."""
    return " ".join(["key"] * (count - 4))


HUGE = [words(length) for length in (40, 39, 38, 37, 36, 35)]  # a batch each
SMALL = [words(20), words(19)]  # one batch


def test_a_small_call_overtakes_a_huge_one_which_still_gets_every_other_batch(bench: Bench) -> None:
    huge = bench.join("key", HUGE)
    assert bench.next_batch() == [40]
    small = [bench.join("key", SMALL) for _ in range(2)]
    order = [[40]]
    while not huge.done():
        bench.engine.permits.release()
        if len(order) < 8:
            order.append(list(bench.next_batch()))
        else:
            huge.result(10)
    assert order.index([20, 19]) <= 3  # it is encoded first, and that is a piece too
    assert [batch for batch in order if batch[0] > 20] == [[40], [39], [38], [37], [36], [35]]
    assert order.index([36]) > max(index for index, batch in enumerate(order) if batch == [20, 19])
    assert huge.result()[0].raw == [40.0, 39.0, 38.0, 37.0, 36.0, 35.0]
    assert [future.result(10)[0].raw for future in small] == [[20.0, 19.0]] * 2


def test_callers_that_wait_share_a_batch(bench: Bench) -> None:
    first = bench.join("key", [words(30)])
    assert bench.next_batch() == [30]
    calls = [bench.join("key", [words(length)]) for length in (10, 9, 8, 20)]
    bench.engine.permits.release()
    shared = bench.next_batch()
    assert len(shared) > 1
    assert 20 not in shared or 8 not in shared  # what is much shorter would be padding
    for _ in range(4):
        bench.engine.permits.release()
    assert [call.result(10)[0].raw for call in calls] == [[10.0], [9.0], [8.0], [20.0]]
    assert first.result(10)[0].raw == [30.0]
    assert len(bench.engine.batches) < 5


def test_an_engine_with_a_budget_of_one_gets_every_pair_alone(bench: Bench) -> None:
    bench.engine.budget = 1
    calls = [bench.join("key", [words(length)]) for length in (10, 10, 10)]
    for _ in calls:
        bench.engine.permits.release()
    assert [call.result(10)[0].raw for call in calls] == [[10.0]] * 3
    assert bench.engine.batches == [[10]] * 3


def test_a_cancelled_call_leaves_between_two_batches(bench: Bench) -> None:
    huge = bench.join("key", HUGE)
    assert bench.next_batch() == [40]
    assert huge.cancel()
    after = bench.join("key", SMALL)
    bench.engine.permits.release()
    assert bench.next_batch() == [20, 19]
    bench.engine.permits.release()
    assert after.result(10)[0].raw == [20.0, 19.0]
    with pytest.raises(CancelledError):
        huge.result(10)
    assert bench.engine.batches == [[40], [20, 19]]


def test_calls_beyond_those_that_may_wait_are_refused_at_once(bench: Bench) -> None:
    running = bench.join("key", HUGE, max_waiting=1)
    assert bench.next_batch() == [40]
    waiting = bench.join("key", SMALL, max_waiting=1)
    with pytest.raises(Overloaded, match=r"2 calls are in progress, 1 can run .* max_waiting=1 .*Fallback"):
        bench.join("key", SMALL, max_waiting=1)
    patient = bench.join("key", SMALL)  # no bound of its own
    assert waiting.cancel()
    assert patient.cancel()
    after = bench.join("key", SMALL, max_waiting=1)  # who left does not wait
    for _ in range(9):
        bench.engine.permits.release()
    assert running.result(10)[0].raw[0] == 40.0
    assert after.result(10)[0].raw == [20.0, 19.0]


def test_with_nobody_to_wait_one_call_after_another_is_taken(bench: Bench) -> None:
    for _ in range(3):
        call = bench.join("key", SMALL, max_waiting=0)
        with pytest.raises(Overloaded):
            bench.join("key", SMALL, max_waiting=0)
        bench.engine.permits.release()
        assert call.result(10)[0].raw == [20.0, 19.0]


def test_a_document_of_a_megabyte_makes_no_call_a_huge_one(bench: Bench) -> None:
    running = bench.join("key", [words(40)])
    assert bench.next_batch() == [40]
    long = bench.join("key", ["key " * 250_000])
    many = bench.join("key", ["key " * 200 + str(number) for number in range(30)])
    assert bench.scheduler._jobs[1].tokens_left < bench.scheduler._jobs[2].tokens_left
    for call in (long, many):
        call.cancel()
    bench.engine.permits.release()
    assert running.result(10)[0].raw == [40.0]


@pytest.mark.parametrize(
    ("document", "tokens"), [("key " * 100, 100), ("열" * 400, 400), ("กุญแจ" * 80, 400), ("钥" * 4_000, 512)]
)
def test_a_calls_size_is_estimated_by_script(document: str, tokens: int) -> None:
    job = Job(lambda: pytest.fail("no model is needed"), [("a query", [document])])
    assert job.tokens_left == tokens


def test_a_failing_engine_is_the_error_of_that_call_alone_in_the_engines_words(bench: Bench) -> None:
    failing = bench.join("key", HUGE)
    assert bench.next_batch() == [40]
    bench.engine.error = RuntimeError("out of memory")
    bench.engine.permits.release()
    with pytest.raises(InferenceFailed, match=r"slow engine failed .*RuntimeError: out of memory") as caught:
        failing.result(10)
    assert caught.value.__cause__ is bench.engine.error
    bench.engine.error = None
    bench.engine.permits.release()
    assert bench.join("key", SMALL).result(10)[0].raw == [20.0, 19.0]
    assert bench.engine.batches == [[40], [20, 19]]


def test_no_more_threads_calculate_than_the_engine_has_streams() -> None:
    engine, worker = Slow(streams=2), Worker("test", threads=4)
    model, scheduler = model_of(engine), Scheduler(worker)
    calls = [scheduler.join(Job(lambda: model, [("key", HUGE)])) for _ in range(3)]
    assert all(engine.begun.acquire(timeout=10) for _ in range(2))
    assert not engine.begun.acquire(timeout=0.1)
    for _ in range(99):
        engine.permits.release()
    assert [call.result(10)[0].raw for call in calls] == [[40.0, 39.0, 38.0, 37.0, 36.0, 35.0]] * 3
    worker.drain()
    assert scheduler._jobs == []
    assert scheduler._running == 0


def test_a_call_is_spread_over_the_threads_only_if_no_other_call_keeps_them_busy() -> None:
    engine, worker = Slow(streams=2), Worker("test", threads=2)
    model, scheduler = model_of(engine), Scheduler(worker)
    for _ in range(99):
        engine.permits.release()
    assert scheduler.join(Job(lambda: model, [("key", SMALL)])).result(10)[0].raw == [20.0, 19.0]
    assert sorted(engine.batches) == [[19], [20]]
    engine.permits = threading.Semaphore(0)
    busy = scheduler.join(Job(lambda: model, [("key", [words(40)])]))
    assert all(engine.begun.acquire(timeout=10) for _ in range(3))
    beside = scheduler.join(Job(lambda: model, [("key", SMALL)]))
    assert engine.begun.acquire(timeout=10)
    assert engine.batches[2:] == [[40], [20, 19]]
    for _ in range(99):
        engine.permits.release()
    assert (busy.result(10)[0].raw, beside.result(10)[0].raw) == ([40.0], [20.0, 19.0])
    worker.drain()


def test_draining_waits_for_calls_that_wait(bench: Bench) -> None:
    huge = bench.join("key", HUGE)
    for _ in HUGE:
        bench.engine.permits.release()
    bench.worker.drain()
    assert huge.done()


def test_a_bug_in_the_scheduler_fails_the_calls_rather_than_hang_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(module, "ForwardPass", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        bench.join("key", SMALL).result(5)


def test_a_missing_extra_is_the_callers_error_where_not_even_numpy_is_there() -> None:
    code = (
        "import sys\n"
        "for name in ('numpy', 'onnxruntime', 'openvino', 'tokenizers', 'torch', 'sentence_transformers'):\n"
        "    sys.modules[name] = None\n"
        "import importlib.util as util\n"
        "found = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if sys.modules.get(name, 0) is None else found(name, *rest)\n"
        "from ksdk_rerank import CrossEncoderReranker\n"
        "from ksdk_rerank.errors import MissingExtra\n"
        "try:\n"
        "    CrossEncoderReranker('some/model').rank('query', ['document'])\n"
        "except MissingExtra as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "pip install" in done.stdout, done.stderr
