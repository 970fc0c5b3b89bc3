"""Reranking as a step of an LCEL chain."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("langchain_core")

from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler

from ksdk_rerank import InputOrder, Ranking, RerankError
from langchain_ksdk_rerank import RerankCompressor

DOCUMENTS = [Document("A door.", id="door"), Document("A chart has a key.", id="chart"), Document("A key.", id="key")]


class Broken(InputOrder):
    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        raise RerankError("the model is gone")


def asked(query: str) -> dict[str, Any]:
    return {"query": query, "documents": DOCUMENTS}


def ids(documents: Sequence[Document]) -> list[str | None]:
    return [document.id for document in documents]


async def test_a_step_reranks_one_input_or_many() -> None:
    step = RerankCompressor("lexical", top_n=1).as_runnable()
    assert ids(step.invoke(asked("key"))) == ["key"]
    assert ids(await step.ainvoke(asked("key"))) == ["key"]
    assert [ids(best) for best in step.batch([asked("key"), asked("door")])] == [["key"], ["door"]]
    assert [ids(best) for best in await step.abatch([asked("key"), asked("door")])] == [["key"], ["door"]]


async def test_a_step_is_one_run_with_the_rerank_below_it() -> None:
    recorder = RunCollectorCallbackHandler()
    step = RerankCompressor("lexical").as_runnable().with_config(tags=["second-stage"], run_name="best pages")
    step.invoke(asked("key"), {"callbacks": [recorder]})
    await step.ainvoke(asked("key"), {"callbacks": [recorder]})
    for run in recorder.traced_runs:
        [child] = run.child_runs
        assert (run.name, child.name, child.tags) == ("best pages", "rerank", ["second-stage"])
    assert len(recorder.traced_runs) == 2


async def test_a_step_can_fall_back_to_another() -> None:
    spare = RerankCompressor("input-order", top_n=2).as_runnable()
    step = RerankCompressor(Broken()).as_runnable().with_fallbacks([spare])
    assert ids(step.invoke(asked("key"))) == ["door", "chart"]
    assert ids(await step.ainvoke(asked("key"))) == ["door", "chart"]


def test_a_step_takes_no_arguments_beside_its_input() -> None:
    with pytest.raises(TypeError, match="top_n"):
        RerankCompressor("lexical").as_runnable().invoke(asked("key"), top_n=1)


def test_a_step_describes_its_input_and_can_be_pickled() -> None:
    step = RerankCompressor("lexical").as_runnable()
    assert step.get_input_jsonschema()["type"] == "object"
    assert step.get_output_jsonschema()["type"] == "array"
    assert "RerankCompressor" in {node.name for node in answer_chain().get_graph().nodes.values()}
    assert ids(pickle.loads(pickle.dumps(step)).invoke(asked("key"))) == ids(step.invoke(asked("key")))


def answer_chain() -> Runnable[str, str]:
    """Retrieve, rerank, and answer with what came first; the chat model is LangChain's own fake."""
    found: Runnable[str, list[Document]] = RunnableLambda(lambda query: DOCUMENTS)
    prompt = ChatPromptTemplate.from_template("Answer from {context}: {query}")
    model = FakeListChatModel(responses=["Under the mat."])
    best = RerankCompressor("lexical", top_n=1).as_runnable()
    return (
        {"query": RunnablePassthrough(), "documents": found}
        | RunnablePassthrough.assign(documents=best)
        | (lambda step: {"query": step["query"], "context": json.dumps(ids(step["documents"]))})
        | prompt
        | model
        | StrOutputParser()
    )


async def test_a_chain_answers_from_the_best_document_only() -> None:
    recorder = RunCollectorCallbackHandler()
    chain = answer_chain()
    assert chain.invoke("key", {"callbacks": [recorder]}) == "Under the mat."
    assert await chain.ainvoke("key", {"callbacks": [recorder]}) == "Under the mat."
    for run in recorder.traced_runs:
        [prompted] = [child for child in run.child_runs if child.run_type == "prompt"]
        assert prompted.inputs["context"] == '["key"]'


async def test_a_chain_streams() -> None:
    assert "".join(answer_chain().stream("key")) == "Under the mat."
    assert "".join([piece async for piece in answer_chain().astream("key")]) == "Under the mat."
