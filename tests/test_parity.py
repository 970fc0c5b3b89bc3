"""The same candidates come out the same from the core, from LangChain and from LlamaIndex."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import ksdk_rerank
from ksdk_rerank import CrossEncoderReranker, KnowledgeSDKClient, LexicalReranker, Reranker

pytest.importorskip("langchain_classic")
pytest.importorskip("llama_index.core")

from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, TextNode

from langchain_ksdk_rerank import RerankCompressor
from llamaindex_ksdk_rerank import RerankPostprocessor

QUESTION = "How can I replace an API key without any downtime?"


@pytest.fixture
def candidates(knowledgesdk_stand_in: Callable[..., Any]) -> list[str]:
    stand_in = knowledgesdk_stand_in("examples/knowledge_base")
    client = KnowledgeSDKClient(stand_in.api_key, base_url=stand_in.base_url)
    return client.search(QUESTION, limit=50).texts


@pytest.fixture(params=["lexical", "cross-encoder"])
def reranker(request: pytest.FixtureRequest) -> Reranker:
    if request.param == "lexical":
        return LexicalReranker()
    return CrossEncoderReranker(str(request.getfixturevalue("tiny_bert")), backend="onnx")


class Found(BaseRetriever):
    documents: list[Document]

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return self.documents


def test_fifty_candidates_come_out_in_the_same_order_with_the_same_scores_everywhere(
    candidates: list[str], reranker: Reranker
) -> None:
    assert len(candidates) == 50
    expected = [(hit.document, hit.score) for hit in reranker.rank(QUESTION, candidates, top_n=10)]

    compressor = RerankCompressor(reranker, top_n=10)
    base = Found(documents=[Document(page_content=text) for text in candidates])
    chain = ContextualCompressionRetriever(base_compressor=compressor, base_retriever=base)
    langchain = [(document.page_content, document.metadata["relevance_score"]) for document in chain.invoke(QUESTION)]

    nodes = [NodeWithScore(node=TextNode(text=text)) for text in candidates]
    postprocessor = RerankPostprocessor(reranker=reranker, top_n=10)
    ranked = postprocessor.postprocess_nodes(nodes, query_str=QUESTION)
    llamaindex = [(node.node.get_content(), node.score) for node in ranked]

    async def main() -> tuple[Any, Any, Any]:
        return (
            await reranker.arank(QUESTION, candidates, top_n=10),
            await chain.ainvoke(QUESTION),
            await postprocessor.apostprocess_nodes(nodes, query_str=QUESTION),
        )

    core, documents, anodes = asyncio.run(main())
    assert langchain == llamaindex == expected
    assert [(hit.document, hit.score) for hit in core] == expected
    assert [(document.page_content, document.metadata["relevance_score"]) for document in documents] == expected
    assert [(node.node.get_content(), node.score) for node in anodes] == expected


@pytest.mark.parametrize(
    "owner",
    [getattr(ksdk_rerank, name) for name in ksdk_rerank.__all__ if inspect.isclass(getattr(ksdk_rerank, name))],
)
def test_every_synchronous_method_and_its_asynchronous_twin_take_the_same_arguments(owner: type) -> None:
    def arguments(method: Callable[..., Any]) -> Mapping[str, Any]:
        signature = inspect.signature(method)
        return {"parameters": list(signature.parameters.values()), "returns": signature.return_annotation}

    for name in ("rank", "rank_many", "warm_up", "score", "score_many", "search", "close"):
        if inspect.isfunction(getattr(owner, name, None)):
            assert arguments(getattr(owner, name)) == arguments(getattr(owner, f"a{name}")), name
