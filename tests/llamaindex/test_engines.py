"""The adapters inside LlamaIndex's own engines, as an application runs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core import MockEmbedding, SummaryIndex, VectorStoreIndex
from llama_index.core.base.response.schema import Response
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.evaluation import RetrieverEvaluator
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.postprocessor import (
    LongContextReorder,
    SimilarityPostprocessor,
    TimeWeightedPostprocessor,
)
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import BaseRetriever, QueryFusionRetriever
from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.workflow import Event, StartEvent, StopEvent, Workflow, step
from llama_index_instrumentation.base import BaseEvent

from ksdk_rerank import Cascade, Fallback, InputOrder, Ranking, Reranker
from ksdk_rerank.errors import RateLimited
from ksdk_rerank.testing import Fault, KnowledgeSDKStandIn
from llamaindex_ksdk_rerank import KnowledgeSDKRetriever, RerankPostprocessor

QUERY = "rotate an API key"
ANSWER = "To rotate an API key, create a second one and revoke the first."
NOTES = ["Colour keys rotate with the chart.", "A seat is free again at once.", ANSWER, "Webhooks are signed."]


class Overloaded(Reranker):
    @property
    def name(self) -> str:
        return "hosted:overloaded"

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        raise RateLimited("too many requests; wait 7 seconds", service="hosted", status=429, retry_after=7)

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        return self._rank(query, documents)


@pytest.fixture
def knowledge_base(stand_in: KnowledgeSDKStandIn) -> KnowledgeSDKRetriever:
    return KnowledgeSDKRetriever(api_key=stand_in.api_key, base_url=stand_in.base_url)


def nodes() -> list[TextNode]:
    return [TextNode(id_=f"note-{number}", text=text) for number, text in enumerate(NOTES)]


def vector_index() -> BaseRetriever:
    """Every embedding is the same, so that only the reranker can tell the nodes apart."""
    return VectorStoreIndex(nodes(), embed_model=MockEmbedding(embed_dim=2)).as_retriever(similarity_top_k=4)


def list_index() -> BaseRetriever:
    """Its nodes come without scores."""
    return SummaryIndex(nodes()).as_retriever()


def engine(retriever: BaseRetriever, *postprocessors: BaseNodePostprocessor) -> RetrieverQueryEngine:
    """With `MockLLM` the answer is the prompt, so it shows what the LLM reads."""
    return RetrieverQueryEngine.from_args(retriever, llm=MockLLM(), node_postprocessors=list(postprocessors))


def lexical(top_n: int | None = 1) -> RerankPostprocessor:
    return RerankPostprocessor(reranker="lexical", top_n=top_n)


def test_a_query_engine_answers_from_the_best_hits_of_the_knowledge_base(
    knowledge_base: KnowledgeSDKRetriever, call: Callable[..., Response]
) -> None:
    response = call(engine(knowledge_base, lexical()).query, QUERY)
    (best,) = response.source_nodes
    assert best.text == ANSWER
    assert best.metadata["title"] == "Rotate an API key"
    assert best.score == best.metadata["relevance_score"]
    assert best.metadata["retrieval_score"] > 0
    prompt = str(response)
    assert f"title: Rotate an API key\nsource: rotation.md#rotate-an-api-key\n\n{ANSWER}" in prompt
    assert "_score" not in prompt
    assert "reranked_by" not in prompt


@pytest.mark.parametrize("retriever", [vector_index, list_index])
def test_a_query_engine_answers_from_the_best_nodes_of_an_index(
    retriever: Callable[[], BaseRetriever], call: Callable[..., Response]
) -> None:
    response = call(engine(retriever(), lexical()).query, QUERY)
    assert [scored.text for scored in response.source_nodes] == [ANSWER]
    assert ANSWER in str(response)


def test_scores_the_index_did_not_give_are_not_made_up(call: Callable[..., Response]) -> None:
    (best,) = call(engine(list_index(), lexical()).query, QUERY).source_nodes
    assert "retrieval_score" not in best.metadata


def test_an_engine_copes_with_nodes_that_have_no_score(call: Callable[..., Response]) -> None:
    unscored = RerankPostprocessor(reranker=InputOrder(), top_n=2)
    response = call(engine(list_index(), unscored, LongContextReorder()).query, QUERY)
    assert [scored.score for scored in response.source_nodes] == [None, None]
    assert [scored.metadata["relevance_score"] for scored in response.source_nodes] == [None, None]


class Found(BaseRetriever):
    """A first stage with scores of its own, best first."""

    def __init__(self, scores: Sequence[float]) -> None:
        super().__init__()
        self.scores = scores

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        texts = [f"note {number}" for number in range(len(self.scores))]
        return [
            NodeWithScore(node=TextNode(text=text), score=score) for text, score in zip(texts, self.scores, strict=True)
        ]


OUTAGE = Fallback([Overloaded(), "input-order"])


@pytest.mark.parametrize("first", [(), (lexical(None),)], ids=["alone", "behind another reranker"])
@pytest.mark.parametrize("reranker", [OUTAGE, InputOrder(), Fallback([Cascade("lexical", Overloaded()), InputOrder()])])
def test_an_outage_costs_the_order_and_never_the_documents(
    reranker: Reranker, first: Sequence[BaseNodePostprocessor], call: Callable[..., Response]
) -> None:
    postprocessors = [*first, RerankPostprocessor(reranker=reranker, min_score=0.9)]
    cutoff = SimilarityPostprocessor(similarity_cutoff=0.2 if not first else 0.0)
    response = call(engine(Found([0.9, 0.7, 0.5]), *postprocessors, cutoff).query, QUERY)
    assert [scored.text for scored in response.source_nodes] == ["note 0", "note 1", "note 2"]
    assert [scored.metadata["relevance_score"] for scored in response.source_nodes] == [None] * 3
    assert [scored.metadata["retrieval_score"] for scored in response.source_nodes] == [0.9, 0.7, 0.5]
    if not first:
        assert [scored.score for scored in response.source_nodes] == [0.9, 0.7, 0.5]


def test_postprocessors_that_sort_by_score_find_the_order_of_the_search_after_an_outage(
    call: Callable[..., Response],
) -> None:
    outage = RerankPostprocessor(reranker=OUTAGE)
    response = call(engine(Found([0.9, 0.7, 0.5, 0.3, 0.1]), outage, LongContextReorder()).query, QUERY)
    assert [scored.text[-1] for scored in response.source_nodes] == ["0", "2", "4", "3", "1"]  # the best at both ends
    recent = TimeWeightedPostprocessor(time_decay=0.5, top_k=2, now=1.0)
    response = call(engine(Found([0.1, 0.9, 0.5]), outage, recent).query, QUERY)
    assert [scored.text[-1] for scored in response.source_nodes] == ["1", "2"]


def test_what_was_not_scored_among_what_was_keeps_its_own_score_and_min_score_drops_it(
    call: Callable[..., Response],
) -> None:
    tail = Cascade("lexical", "lexical", keep=1)
    response = call(engine(Found([0.9, 0.7]), RerankPostprocessor(reranker=tail)).query, "note 0")
    best, rest = response.source_nodes
    assert best.score == best.metadata["relevance_score"]
    assert (rest.score, rest.metadata["relevance_score"]) == (0.7, None)
    strict = RerankPostprocessor(reranker=tail, min_score=0.0)
    response = call(engine(Found([0.9, 0.7]), strict, LongContextReorder()).query, "note 0")
    assert [scored.text for scored in response.source_nodes] == ["note 0"]


def test_two_passages_of_one_id_both_reach_the_answer(
    stand_in: KnowledgeSDKStandIn, knowledge_base: KnowledgeSDKRetriever, call: Callable[..., Response]
) -> None:
    hits = [{"id": "keys", "content": ANSWER, "score": 2.0}, {"id": "keys", "content": "An API key is revoked."}]
    with stand_in.failing(Fault(body={"hits": hits})):
        response = call(engine(knowledge_base, lexical(None)).query, QUERY)
    assert {scored.text for scored in response.source_nodes} == {ANSWER, "An API key is revoked."}
    assert {scored.metadata["knowledgesdk_id"] for scored in response.source_nodes} == {"keys"}
    assert "knowledgesdk_id" not in str(response)


def test_other_postprocessors_work_before_and_behind(call: Callable[..., Response]) -> None:
    cutoff = SimilarityPostprocessor(similarity_cutoff=0.2)
    response = call(engine(vector_index(), LongContextReorder(), lexical(None), cutoff).query, QUERY)
    assert [scored.text for scored in response.source_nodes] == [ANSWER]


def test_a_fusion_retriever_can_be_the_first_stage(
    knowledge_base: KnowledgeSDKRetriever, call: Callable[..., Response]
) -> None:
    fusion = QueryFusionRetriever(
        [knowledge_base, vector_index()],
        llm=MockLLM(),
        mode=FUSION_MODES.RECIPROCAL_RANK,
        num_queries=1,
        similarity_top_k=8,
        use_async=False,
    )
    response = call(engine(fusion, lexical(2)).query, QUERY)
    assert [scored.text for scored in response.source_nodes] == [ANSWER, ANSWER]  # one from each
    for scored in response.source_nodes:
        assert 0 < scored.metadata["retrieval_score"] < 0.1  # the fused one: 1 / (60 + rank)


@pytest.mark.parametrize("kind", [ContextChatEngine, CondensePlusContextChatEngine])
def test_a_chat_engine_reranks_each_turn(
    knowledge_base: KnowledgeSDKRetriever, call: Callable[..., AgentChatResponse], kind: Any
) -> None:
    chat = kind.from_defaults(
        retriever=knowledge_base,
        llm=MockLLM(),
        memory=ChatMemoryBuffer.from_defaults(token_limit=1000),  # the default one leaves a database open
        node_postprocessors=[lexical()],
    )
    for question, title in [(QUERY, "Rotate an API key"), ("Who has a free seat?", "Seats")]:
        if kind is CondensePlusContextChatEngine:
            chat.reset()  # else `MockLLM` condenses the question to the whole prompt
        response = call(chat.chat, question)
        assert [scored.metadata["title"] for scored in response.source_nodes] == [title]
        assert "_score" not in str(response)


def test_a_chat_engine_that_streams_reranks_too(knowledge_base: KnowledgeSDKRetriever) -> None:
    chat = ContextChatEngine.from_defaults(
        retriever=knowledge_base,
        llm=MockLLM(),
        memory=ChatMemoryBuffer.from_defaults(token_limit=1000),
        node_postprocessors=[lexical()],
    )
    response = chat.stream_chat(QUERY)
    assert ANSWER in "".join(response.response_gen)
    assert [scored.metadata["title"] for scored in response.source_nodes] == ["Rotate an API key"]


class Candidates(Event):
    query: str
    nodes: list[NodeWithScore]


class TwoStages(Workflow):
    """Retrieve in one step, rerank in the next."""

    def __init__(self, retriever: BaseRetriever, postprocessor: RerankPostprocessor) -> None:
        super().__init__(timeout=20)
        self.retriever = retriever
        self.postprocessor = postprocessor

    @step
    async def retrieve(self, event: StartEvent) -> Candidates:
        return Candidates(query=event.query, nodes=await self.retriever.aretrieve(event.query))

    @step
    async def rerank(self, event: Candidates) -> StopEvent:
        return StopEvent(result=await self.postprocessor.apostprocess_nodes(event.nodes, query_str=event.query))


async def test_a_step_of_a_workflow_reranks(knowledge_base: KnowledgeSDKRetriever, events: list[BaseEvent]) -> None:
    workflow = TwoStages(knowledge_base, lexical())
    results = await asyncio.gather(workflow.run(query=QUERY), workflow.run(query="Who has a free seat?"))
    titles = [[scored.metadata["title"] for scored in nodes] for nodes in cast("list[list[NodeWithScore]]", results)]
    assert titles == [["Rotate an API key"], ["Seats"]]
    reported = [type(event) for event in events if isinstance(event, (ReRankStartEvent, ReRankEndEvent))]
    assert sorted(kind.__name__ for kind in reported) == ["ReRankEndEvent"] * 2 + ["ReRankStartEvent"] * 2


async def test_a_failure_in_a_step_is_the_workflows(knowledge_base: KnowledgeSDKRetriever) -> None:
    with pytest.raises(Exception, match="wait 7 seconds"):
        await TwoStages(knowledge_base, RerankPostprocessor(reranker=Overloaded())).run(query=QUERY)


async def test_cores_evaluator_calls_the_synchronous_method_on_its_loop() -> None:
    evaluator = RetrieverEvaluator.from_metric_names(
        ["mrr"], retriever=vector_index(), node_postprocessors=[lexical(None)]
    )
    result = await evaluator.aevaluate(QUERY, expected_ids=["note-2"])
    assert result.metric_vals_dict == {"mrr": 1.0}


def test_a_failure_reaches_the_caller_of_the_engine(
    knowledge_base: KnowledgeSDKRetriever, call: Callable[..., Response], events: list[BaseEvent]
) -> None:
    with pytest.raises(RateLimited, match="wait 7 seconds"):
        call(engine(knowledge_base, RerankPostprocessor(reranker=Overloaded())).query, QUERY)
    reported = [type(event) for event in events if isinstance(event, (ReRankStartEvent, ReRankEndEvent))]
    assert reported == [ReRankStartEvent, ReRankEndEvent]


async def test_many_questions_at_once_each_get_their_own_answer(knowledge_base: KnowledgeSDKRetriever) -> None:
    queries = {QUERY: "Rotate an API key", "free seat member": "Seats", "webhook signed secret": "Webhooks"}
    shared = engine(knowledge_base, lexical())
    asked = list(queries) * 10
    responses = await asyncio.gather(*(shared.aquery(query) for query in asked))
    best: list[NodeWithScore] = [response.source_nodes[0] for response in responses]
    assert [scored.metadata["title"] for scored in best] == [queries[query] for query in asked]
