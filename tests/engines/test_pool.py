from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tiny_models import MakeModel

from ksdk_rerank.engines import pool
from ksdk_rerank.engines.encoding import PairEncoder
from ksdk_rerank.errors import ModelError, UnsupportedModel
from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker

QUERY = "how do i rotate an api key"


def occupy(reranker: CrossEncoderReranker) -> threading.Event:
    """Keep all threads of its model from working until the event is set."""
    go_on, held = threading.Event(), threading.Semaphore(0)
    worker = reranker._runner().worker

    def hold() -> None:
        held.release()
        go_on.wait(10)

    for _ in range(worker.threads):
        worker.submit(hold)
    for _ in range(worker.threads):
        assert held.acquire(timeout=10)
    return go_on


def loaded() -> list[object]:
    """The models in memory."""
    return [one._model for one in pool._runners.values() if one._model is not None]


def test_sixteen_threads_get_what_one_thread_gets(tiny_bert: str, documents: list[str]) -> None:
    reranker = CrossEncoderReranker(tiny_bert)
    queries = [f"{QUERY} {number}" for number in range(64)]
    expected = [CrossEncoderReranker(tiny_bert).rank(query, documents) for query in queries]
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(lambda query: reranker.rank(query, documents), queries)) == expected
    assert len(loaded()) == 1


async def test_the_event_loop_runs_on_while_a_model_loads_and_scores(tiny_bert: str) -> None:
    reranker = CrossEncoderReranker(tiny_bert)
    go_on = occupy(reranker)
    task = asyncio.create_task(reranker.arank(QUERY, ["key"]))
    await asyncio.sleep(0.05)
    assert not task.done()
    go_on.set()
    assert len(await task) == 1


def test_an_instruction_travels_with_the_call_to_one_copy_of_the_weights(
    tiny_bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, str | None]] = []
    encode, room = PairEncoder.encode, PairEncoder.document_room

    def encoded(self: PairEncoder, query: str, texts: list[str], instruction: str | None = None) -> object:
        read.append((query, instruction))
        return encode(self, query, texts)

    def roomy(self: PairEncoder, query: str, instruction: str | None = None) -> int:
        return room(self, query) - len(instruction or "")

    monkeypatch.setattr(PairEncoder, "encode", encoded)
    monkeypatch.setattr(PairEncoder, "document_room", roomy)
    plain, news = CrossEncoderReranker(tiny_bert), CrossEncoderReranker(tiny_bert, instruction="news")
    plain.rank("first", ["key"])
    news.rank("second", ["key"])
    asyncio.run(news.arank("third", ["key"]))
    assert read == [("first", None), ("second", "news"), ("third", "news")]
    assert news.document_room("key") == plain.document_room("key") - 4
    assert len(loaded()) == 1


@pytest.mark.parametrize("error", [ValueError, UnsupportedModel])
def test_a_classifier_has_no_place_for_an_instruction(tiny_bert: str, error: type[Exception]) -> None:
    reranker = CrossEncoderReranker(tiny_bert, instruction="Prefer news")
    advice = "has no place for one.*; remove instruction=..., or use a model with a prompt"
    with pytest.raises(error, match=advice):
        reranker.rank(QUERY, ["key"])
    with pytest.raises(error, match=advice):
        asyncio.run(reranker.arank(QUERY, ["key"]))
    with pytest.raises(error, match=advice):
        reranker.document_room(QUERY)


async def test_a_cancelled_call_leaves_the_queue(tiny_bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reranker = CrossEncoderReranker(tiny_bert)
    await reranker.arank(QUERY, ["key"])
    asked: list[str] = []
    encode = PairEncoder.encode

    def noted(self: PairEncoder, query: str, texts: list[str], **options: Any) -> object:
        asked.append(query)
        return encode(self, query, texts, **options)

    monkeypatch.setattr(PairEncoder, "encode", noted)
    go_on = occupy(reranker)
    given_up = asyncio.create_task(reranker.arank("given up", ["key"]))
    waiting = asyncio.create_task(reranker.arank("waiting", ["key"]))
    await asyncio.sleep(0.05)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    go_on.set()
    await waiting
    assert asked == ["waiting"]


def test_two_rerankers_of_one_configuration_share_their_weights(tiny_bert: str) -> None:
    first, second = CrossEncoderReranker(tiny_bert), CrossEncoderReranker(tiny_bert)
    first.rank(QUERY, ["key"])
    second.rank(QUERY, ["key"])
    assert len(loaded()) == 1
    CrossEncoderReranker(tiny_bert, max_length=32).rank(QUERY, ["key"])
    assert len(loaded()) == 2


def test_close_lets_the_weights_go_once_nobody_uses_them(tiny_bert: str) -> None:
    first, second = CrossEncoderReranker(tiny_bert), CrossEncoderReranker(tiny_bert)
    first.rank(QUERY, ["key"])
    second.rank(QUERY, ["key"])
    engine = weakref.ref(loaded()[0].engine)  # type: ignore[attr-defined]
    first.close()
    first.close()
    assert engine() is not None
    second.close()
    gc.collect()
    assert engine() is None
    assert pool._runners == {}


async def test_aclose_and_the_context_managers_release_too(tiny_bert: str) -> None:
    async with CrossEncoderReranker(tiny_bert) as reranker:
        await reranker.arank(QUERY, ["key"])
    assert pool._runners == {}
    with CrossEncoderReranker(tiny_bert) as reranker:
        reranker.rank(QUERY, ["key"])
    assert pool._runners == {}


def test_close_waits_for_calls_that_are_under_way(tiny_bert: str) -> None:
    reranker = CrossEncoderReranker(tiny_bert)
    go_on = occupy(reranker)
    with ThreadPoolExecutor(2) as threads:
        ranking = threads.submit(reranker.rank, QUERY, ["key"])
        while len(reranker._runner().worker._crew._waiting) < 1:  # type: ignore[union-attr]
            pass
        closing = threads.submit(reranker.close)
        go_on.set()
        closing.result(10)
        assert len(ranking.result(10)) == 1


def test_a_reranker_that_was_dropped_leaves_the_weights_for_the_next(tiny_bert: str) -> None:
    CrossEncoderReranker(tiny_bert).rank(QUERY, ["key"])
    gc.collect()
    (before,) = loaded()
    CrossEncoderReranker(tiny_bert).rank(QUERY, ["key"])
    assert loaded() == [before]


def test_a_failed_load_is_tried_again(make_model: MakeModel) -> None:
    folder = make_model()
    graph = (folder / "onnx/model.onnx").read_bytes()
    (folder / "onnx/model.onnx").write_bytes(b"half a file")
    reranker = CrossEncoderReranker(str(folder), backend="onnx")
    with pytest.raises(ModelError, match="is not an ONNX graph"):
        reranker.rank(QUERY, ["key"])
    (folder / "onnx/model.onnx").write_bytes(graph)
    assert len(reranker.rank(QUERY, ["key"])) == 1


@pytest.mark.parametrize("carry", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_of_a_reranker_in_use_ranks_alike(tiny_bert: str, carry: Callable[[Any], Any]) -> None:
    reranker = CrossEncoderReranker(tiny_bert)
    ranking = reranker.rank(QUERY, ["key", "invoice"])
    assert len(pickle.dumps(reranker)) < 1000
    assert carry(reranker).rank(QUERY, ["key", "invoice"]) == ranking
    assert len(loaded()) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_loads_anew(tiny_bert: str) -> None:
    program = """if True:
        import os, sys, warnings
        from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker
        reranker = CrossEncoderReranker(sys.argv[1])
        before = reranker.rank("the key", ["key", "invoice"])
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: forking with threads
        child = os.fork()
        assert reranker.rank("the key", ["key", "invoice"]) == before
        reranker.close()
        if not child:
            os._exit(0)  # as multiprocessing does; onnxruntime 1.32 hangs or aborts in a child that ends otherwise
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.exit(status)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, "-c", program, tiny_bert], env=environment, timeout=60, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
