"""What leaves the process: `dumpd`, `dumps`, pickles and dumps of models hold settings, and no key."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

pytest.importorskip("langchain_core")

from langchain_core.documents import Document
from langchain_core.load import dumpd, dumps
from langchain_core.runnables import RunnableLambda

from ksdk_rerank import Fallback, JinaReranker, LexicalReranker, TEIReranker
from langchain_ksdk_rerank import (
    KnowledgeSDKRetriever,
    LangChainCrossEncoder,
    RerankCompressor,
    RerankedRetriever,
    RerankerCrossEncoder,
)

SECRET = "do-not-show-me-anywhere"
DOCUMENTS = [Document("A door."), Document("A key.")]


class Words:
    """A cross-encoder in LangChain's sense."""

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        return [float(query in text) for query, text in text_pairs]


def found(query: str) -> list[Document]:
    return DOCUMENTS


def holders() -> list[object]:
    """One of each public class, with keys wherever one can be."""
    hosted = Fallback([JinaReranker(api_key=SECRET), TEIReranker("http://127.0.0.1:1", api_key=SECRET), "lexical"])
    compressor = RerankCompressor(hosted, top_n=2, text=["title"])
    first = KnowledgeSDKRetriever(api_key=SECRET)
    return [
        compressor,
        compressor.as_runnable(),
        first,
        RerankedRetriever(base_retriever=first, compressor=compressor),
        RerankedRetriever(base_retriever=RunnableLambda(found), compressor=compressor),
        RerankerCrossEncoder(hosted),
        LangChainCrossEncoder(Words()),
    ]


@pytest.mark.parametrize("holder", holders(), ids=lambda holder: type(holder).__name__)
def test_nothing_that_leaves_the_process_holds_a_key(holder: object) -> None:
    shown = [repr(holder), str(holder), json.dumps(dumpd(holder)), dumps(holder)]
    if hasattr(holder, "model_dump"):
        shown.append(str(holder.model_dump()))
    assert not [text for text in shown if SECRET in text]
    assert SECRET.encode() not in pickle.dumps(holder)


@pytest.mark.parametrize("holder", holders(), ids=lambda holder: type(holder).__name__)
def test_every_public_object_can_be_pickled_and_copied(holder: object) -> None:
    for other in (pickle.loads(pickle.dumps(holder)), copy.deepcopy(holder), copy.copy(holder)):
        assert type(other) is type(holder)


def test_the_rerankers_options_survive_in_every_copy() -> None:
    whole = RerankedRetriever(
        base_retriever=RunnableLambda(found),
        compressor=RerankCompressor(LexicalReranker(k1=2.0), top_n=1, min_score=0.01, text=["title"]),
        k=2,
    )
    expected = whole.invoke("key")
    for other in (pickle.loads(pickle.dumps(whole)), copy.deepcopy(whole), whole.model_copy(deep=True)):
        assert repr(other.compressor) == repr(whole.compressor)
        assert other.invoke("key") == expected
