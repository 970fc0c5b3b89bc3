"""Each rerank is a run below the one that called it, in every way LangChain calls it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

pytest.importorskip("langchain_core")

from langchain_core.callbacks import AsyncCallbackManager, CallbackManager
from langchain_core.documents import Document
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langchain_core.tracers.schemas import Run

from ksdk_rerank import Ranking, Reranker, RerankError, ScoreKind, Scores, ScoringReranker
from langchain_ksdk_rerank import RerankCompressor, RerankedRetriever

DOCUMENTS = [Document("A door.", id="door"), Document("A key.", id="key")]


class Counted(ScoringReranker):
    """A stand-in for a hosted model: it counts what it costs."""

    score_kind = ScoreKind.UNIT
    name = "counted"

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        raw = [0.9 if query in text else 0.1 for text in documents]
        return Scores(raw, usage={"search_units": 1}, truncated=1)

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return self.score(query, documents)


class Broken(Reranker):
    name = "broken"

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        raise RerankError("the model is gone")

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        raise RerankError("the model is gone")


class Endless(Broken):
    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        self.begun.set()
        await asyncio.sleep(60)
        raise AssertionError("it was cancelled long ago")


class Asking(Broken):
    """A reranker that itself calls something of LangChain's, such as a chat model."""

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        await judge().ainvoke(query)
        return Counted()._rank(query, documents)

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        judge().invoke(query)
        return Counted()._rank(query, documents)


def judge() -> Runnable[str, str]:
    return RunnableLambda(lambda query: query, name="judge")


def base() -> Runnable[str, list[Document]]:
    return RunnableLambda(lambda query: list(DOCUMENTS), name="base")


def tree(run: Run) -> tuple[str, list[object]]:
    return run.name, [tree(child) for child in run.child_runs]


@pytest.fixture
def recorder() -> RunCollectorCallbackHandler:
    return RunCollectorCallbackHandler()


def test_an_instruction_is_among_the_inputs_of_the_run(recorder: RunCollectorCallbackHandler) -> None:
    class Instructed(Counted):
        instruction = "Prefer news"

    for reranker in (Instructed(), Counted()):
        RerankCompressor(reranker).compress_documents(DOCUMENTS, "key", callbacks=[recorder])
    assert [run.inputs.get("instruction") for run in recorder.traced_runs] == ["Prefer news", None]
    assert "instruction" not in recorder.traced_runs[1].inputs


def check_rerank(run: Run, *, documents: int = 2) -> None:
    """`run` says what went in and what came out."""
    assert run.run_type == "chain"
    assert run.error is None
    assert [document.id for document in run.inputs["documents"]] == ["door", "key"][:documents]
    settings = {name: run.inputs[name] for name in ("query", "model", "top_n", "min_score")}
    assert settings == {"query": "key", "model": "counted", "top_n": 5, "min_score": 0.05}
    assert run.outputs is not None
    found = [(document.id, document.metadata["relevance_score"]) for document in run.outputs["documents"]]
    assert found == [("key", 0.9), ("door", 0.1)]
    assert (run.outputs["usage"], run.outputs["truncated"]) == ({"search_units": 1}, 1)
    assert run.outputs["reranked_by"] == "counted"


@pytest.mark.parametrize("kind", ["list", "manager"])
async def test_a_call_by_hand_is_a_run_of_its_own(recorder: RunCollectorCallbackHandler, kind: str) -> None:
    compressor = RerankCompressor(Counted(), min_score=0.05)
    compressor.compress_documents(DOCUMENTS, "key", [recorder] if kind == "list" else CallbackManager([recorder]))
    await compressor.acompress_documents(
        DOCUMENTS, "key", [recorder] if kind == "list" else AsyncCallbackManager([recorder])
    )
    assert [tree(run) for run in recorder.traced_runs] == [("rerank", []), ("rerank", [])]
    for run in recorder.traced_runs:
        check_rerank(run)


async def test_without_callbacks_it_works_and_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    RerankCompressor(Counted()).compress_documents(DOCUMENTS, "key")
    await RerankCompressor(Counted()).acompress_documents(DOCUMENTS, "key", callbacks=None)
    assert capfd.readouterr() == ("", "")


async def test_it_is_a_child_of_langchains_compression_retriever(recorder: RunCollectorCallbackHandler) -> None:
    retrievers = pytest.importorskip("langchain_classic.retrievers")
    retriever = retrievers.ContextualCompressionRetriever(
        base_retriever=base(), base_compressor=RerankCompressor(Counted(), min_score=0.05)
    )
    found = retriever.invoke("key", {"callbacks": [recorder]})
    assert found == await retriever.ainvoke("key", {"callbacks": [recorder]})
    assert [document.id for document in found] == ["key", "door"]
    for run in recorder.traced_runs:
        assert tree(run) == ("ContextualCompressionRetriever", [("base", []), ("rerank", [])])
        check_rerank(run.child_runs[1])
    assert len(recorder.traced_runs) == 2


async def test_both_stages_are_children_of_the_reranked_retriever(recorder: RunCollectorCallbackHandler) -> None:
    retriever = RerankedRetriever(base_retriever=base(), compressor=RerankCompressor(Counted(), min_score=0.05))
    retriever.invoke("key", {"callbacks": [recorder], "run_name": "search"})
    await retriever.ainvoke("key", {"callbacks": [recorder], "run_name": "search"})
    for run in recorder.traced_runs:
        assert tree(run) == ("search", [("base", []), ("rerank", [])])
        check_rerank(run.child_runs[1])
    assert len(recorder.traced_runs) == 2


async def test_a_bare_call_inside_a_runnable_finds_its_parent(recorder: RunCollectorCallbackHandler) -> None:
    compressor = RerankCompressor(Counted(), min_score=0.05)

    def step(query: str) -> list[Document]:
        return compressor.compress_documents(DOCUMENTS, query)

    async def astep(query: str) -> list[Document]:
        return await compressor.acompress_documents(DOCUMENTS, query)

    chain = RunnableLambda(step, astep, name="chain")
    chain.invoke("key", {"callbacks": [recorder], "tags": ["mine"], "run_name": "chain"})
    await chain.ainvoke("key", {"callbacks": [recorder], "tags": ["mine"]})
    for run in recorder.traced_runs:
        assert tree(run) == ("chain", [("rerank", [])])
        check_rerank(run.child_runs[0])
        assert run.child_runs[0].tags == ["mine"]
    assert len(recorder.traced_runs) == 2


async def test_what_a_reranker_calls_is_a_child_of_the_rerank(recorder: RunCollectorCallbackHandler) -> None:
    RerankCompressor(Asking()).compress_documents(DOCUMENTS, "key", [recorder])
    await RerankCompressor(Asking()).acompress_documents(DOCUMENTS, "key", [recorder])
    assert [tree(run) for run in recorder.traced_runs] == [("rerank", [("judge", [])])] * 2


async def test_a_rerank_shows_in_astream_events() -> None:
    retriever = RerankedRetriever(base_retriever=base(), compressor=RerankCompressor(Counted(), min_score=0.05))
    events = [event async for event in retriever.astream_events("key", version="v2") if event["name"] == "rerank"]
    assert [event["event"] for event in events] == ["on_chain_start", "on_chain_end"]
    assert events[0]["data"]["input"]["model"] == "counted"
    assert [document.id for document in events[1]["data"]["output"]["documents"]] == ["key", "door"]
    assert events[0]["parent_ids"]


async def test_no_documents_are_a_run_too(recorder: RunCollectorCallbackHandler) -> None:
    assert RerankCompressor(Counted()).compress_documents([], "key", [recorder]) == []
    assert await RerankCompressor(Counted()).acompress_documents([], "key", [recorder]) == []
    assert [(run.name, (run.outputs or {})["documents"]) for run in recorder.traced_runs] == [("rerank", [])] * 2


async def test_a_failure_ends_the_run_with_the_error(recorder: RunCollectorCallbackHandler) -> None:
    retriever = RerankedRetriever(base_retriever=base(), compressor=RerankCompressor(Broken()))
    with pytest.raises(RerankError, match="gone"):
        retriever.invoke("key", {"callbacks": [recorder]})
    with pytest.raises(RerankError, match="gone"):
        await retriever.ainvoke("key", {"callbacks": [recorder]})
    for run in recorder.traced_runs:
        assert tree(run) == ("RerankedRetriever", [("base", []), ("rerank", [])])
        assert "the model is gone" in (run.child_runs[1].error or "")
        assert run.child_runs[1].end_time is not None
    assert len(recorder.traced_runs) == 2


async def test_a_text_function_that_fails_ends_the_run_too(recorder: RunCollectorCallbackHandler) -> None:
    compressor = RerankCompressor(Counted(), text=lambda document: str(document.metadata["missing"]))
    with pytest.raises(KeyError, match="missing"):
        compressor.compress_documents(DOCUMENTS, "key", [recorder])
    with pytest.raises(KeyError, match="missing"):
        await compressor.acompress_documents(DOCUMENTS, "key", [recorder])
    assert ["KeyError" in (run.error or "") for run in recorder.traced_runs] == [True, True]


async def test_a_cancelled_call_ends_its_run(recorder: RunCollectorCallbackHandler) -> None:
    endless = Endless()
    task = asyncio.create_task(RerankCompressor(endless).acompress_documents(DOCUMENTS, "key", [recorder]))
    await endless.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ["CancelledError" in (run.error or "") for run in recorder.traced_runs] == [True]


async def test_runs_of_calls_at_once_keep_to_their_parents(recorder: RunCollectorCallbackHandler) -> None:
    retriever = RerankedRetriever(base_retriever=base(), compressor=RerankCompressor(Counted(), min_score=0.05))
    await asyncio.gather(*(retriever.ainvoke("key", {"callbacks": [recorder]}) for _ in range(25)))
    assert [tree(run) for run in recorder.traced_runs] == [("RerankedRetriever", [("base", []), ("rerank", [])])] * 25
