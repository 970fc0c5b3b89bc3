"""LlamaIndex's node postprocessors as rerankers. What both bridges share is tested with LangChain's."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core.llms import CompletionResponse
from llama_index.core.llms.mock import MockLLM
from llama_index.core.postprocessor import (
    LLMRerank,
    LongContextReorder,
    SimilarityPostprocessor,
)
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

from ksdk_rerank import Fallback, Reranker, ScoreKind, errors, load_reranker, to_config
from ksdk_rerank.testing.contract import SubclassContract
from llamaindex_ksdk_rerank import PostprocessorReranker, RerankPostprocessor

Call = Callable[..., Any]

DOCUMENTS = ["a door", " ", "rotate a key", "a key", "a seat"]


class Answering(MockLLM):
    """An LLM with one answer, in the form that `LLMRerank` asks for."""

    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        return CompletionResponse(text="Doc: 3, Relevance: 4\nDoc: 2, Relevance: 9\nDoc: 3, Relevance: 1")


class Lengths(BaseNodePostprocessor):
    """Has no asynchronous call of its own."""

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        for scored in nodes:
            scored.score = 1 / len(scored.text)
        return sorted(nodes, key=lambda scored: -(scored.score or 0))


class Rebuilding(Lengths):
    """Makes every node anew, under other ids."""

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        found = super()._postprocess_nodes(nodes, query_bundle)
        return [NodeWithScore(node=TextNode(text=scored.text), score=scored.score) for scored in found]


class Raising(Lengths):
    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        raise TimeoutError("the read operation timed out")


def ranked(reranker: Reranker, call: Call) -> list[tuple[int, float | None]]:
    return [(hit.index, hit.score) for hit in call(reranker.rank, "rotate a key", DOCUMENTS)]


class TestContract(SubclassContract):
    @pytest.fixture
    def reranker(self) -> Reranker:
        return PostprocessorReranker(Lengths())


class TestContractOfAnAsynchronousOne(SubclassContract):
    listwise = True  # as BM25 is

    @pytest.fixture
    def reranker(self) -> Reranker:
        return PostprocessorReranker(RerankPostprocessor(reranker="lexical", top_n=None))


def test_an_llm_s_relevance_becomes_the_score_and_what_it_leaves_out_comes_last(call: Call) -> None:
    llm = Answering(max_tokens=None)
    reranker = PostprocessorReranker(LLMRerank(llm=llm), score_kind=ScoreKind.BOUNDED, upper_bound=10)
    assert ranked(reranker, call) == [(2, 0.9), (3, 0.4), (0, None), (4, None), (1, None)]
    with pytest.raises(errors.BadReply, match=r"LLMRerank returned the score 9, .* state its score_kind"):
        call(PostprocessorReranker(LLMRerank(llm=llm)).rank, "q", DOCUMENTS)


def test_a_postprocessor_without_scores_gives_an_order_and_a_filter_loses_nothing(call: Call) -> None:
    dropping = PostprocessorReranker(SimilarityPostprocessor(similarity_cutoff=0.5))
    assert ranked(dropping, call) == [(0, None), (2, None), (3, None), (4, None), (1, None)]
    reordering = PostprocessorReranker(LongContextReorder())
    assert sorted(index for index, _ in ranked(reordering, call)[:4]) == [0, 2, 3, 4]
    assert {score for _, score in ranked(reordering, call)} == {None}


def test_nodes_that_were_made_anew_are_told_by_their_text(call: Call) -> None:
    documents = ["bb", "a", "bb"]
    ranking = call(PostprocessorReranker(Rebuilding()).rank, "q", documents)
    assert [(hit.index, hit.score) for hit in ranking] == [(1, 1.0), (0, 0.5), (2, 0.5)]


def test_a_time_out_moves_a_fallback_on_and_is_one_of_our_errors(call: Call) -> None:
    reranker = PostprocessorReranker(Raising())
    with pytest.raises(errors.TimedOut, match=r"^Raising failed: TimeoutError: the read operation timed out"):
        call(reranker.rank, "q", DOCUMENTS)
    assert call(Fallback([reranker, "lexical"]).rank, "q", DOCUMENTS).reranked_by == "lexical"


def test_it_pickles_with_its_postprocessor_and_is_never_written_as_a_configuration() -> None:
    reranker = PostprocessorReranker(Lengths(), score_kind=None)
    assert pickle.loads(pickle.dumps(reranker)).rank("q", DOCUMENTS) == reranker.rank("q", DOCUMENTS)
    with pytest.raises(TypeError, match=r"PostprocessorReranker is neither .* pass the reranker itself"):
        to_config(reranker)
    with pytest.raises(ValueError, match="PostprocessorReranker is neither"):
        RerankPostprocessor(reranker=reranker).to_dict()
    with pytest.raises(TypeError, match="a LlamaIndex postprocessor in PostprocessorReranker"):
        load_reranker(reranker.postprocessor)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be a BaseNodePostprocessor, got LexicalReranker"):
        PostprocessorReranker(load_reranker("lexical"))  # type: ignore[arg-type]


def test_a_chain_of_both_keeps_the_search_s_nodes() -> None:
    nodes = [NodeWithScore(node=TextNode(text=text, metadata={"n": n})) for n, text in enumerate(("door", "a key"))]
    inner = PostprocessorReranker(Lengths())
    postprocessor = RerankPostprocessor(reranker=inner, top_n=1, metadata_mode=MetadataMode.NONE)
    [best] = postprocessor.postprocess_nodes(nodes, query_str="q")
    assert (best.node.node_id, best.metadata["n"], best.score) == (nodes[0].node.node_id, 0, 0.25)
    assert [scored.score for scored in nodes] == [None, None]
