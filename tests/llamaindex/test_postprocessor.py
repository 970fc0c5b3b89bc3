from __future__ import annotations

import asyncio
import copy
import inspect
import json
import math
import pickle
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("llama_index.core")

import numpy as np
from llama_index.core import MockEmbedding, SummaryIndex, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.callbacks.schema import EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from llama_index_instrumentation.dispatcher import instrument_tags

from ksdk_rerank import (
    Cascade,
    CrossEncoderReranker,
    Fallback,
    InputOrder,
    JinaReranker,
    LexicalReranker,
    LongDocuments,
    Ranked,
    Ranking,
    Reranker,
    ScoreKind,
    Scores,
    ScoringReranker,
)
from ksdk_rerank.errors import RateLimited
from llamaindex_ksdk_rerank import RerankPostprocessor

if TYPE_CHECKING:
    from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
    from llama_index_instrumentation.base import BaseEvent

Call = Callable[..., list[NodeWithScore]]

QUERY = "red fox"
SCORE_KEYS = {"relevance_score", "retrieval_score", "reranked_by"}


class Listening(ScoringReranker):
    """Keeps what it was given to read; prefers long texts."""

    score_kind = ScoreKind.LOGIT

    def __init__(self) -> None:
        self.read: list[list[str]] = []

    @property
    def name(self) -> str:
        return "listening"

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        self.read.append(list(documents))
        return Scores([float(len(document)) for document in documents])

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return self.score(query, documents)


class Overloaded(Reranker):
    """Fails as a hosted reranker does."""

    @property
    def name(self) -> str:
        return "hosted:overloaded"

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        raise RateLimited("too many requests; wait 7 seconds", service="hosted", status=429, retry_after=7)

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        return self._rank(query, documents)


class Numpy(Reranker):
    """Somebody's reranker that lets numpy's floats out."""

    @property
    def name(self) -> str:
        return "numpy"

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        score: float = np.float32(0.5)  # type: ignore[assignment]
        return Ranking(tuple(Ranked(index, text, score) for index, text in enumerate(documents)), self.name)

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        return self._rank(query, documents)


def candidate(text: str, score: float | None = None, **metadata: object) -> NodeWithScore:
    return NodeWithScore(node=TextNode(text=text, metadata=metadata), score=score)


def candidates() -> list[NodeWithScore]:
    return [candidate("The dog sleeps.", 0.9), candidate("The red fox jumps.", 0.8), candidate("A red car.", 0.7)]


def rewrapped(scored: NodeWithScore) -> NodeWithScore:
    """As postprocessors in between do that make new ones around the node."""
    return NodeWithScore(node=scored.node, score=scored.score)


def texts(nodes: Sequence[NodeWithScore]) -> list[str]:
    return [scored.node.get_content() for scored in nodes]


# Order and scores


def test_the_nodes_that_answer_the_query_come_first(call: Call) -> None:
    reranked = call(RerankPostprocessor(reranker="lexical").postprocess_nodes, candidates(), query_str=QUERY)
    assert texts(reranked) == ["The red fox jumps.", "A red car.", "The dog sleeps."]


def test_scores_are_those_of_the_reranker(call: Call) -> None:
    nodes = candidates()
    ranking = LexicalReranker().rank(QUERY, texts(nodes))
    reranked = call(RerankPostprocessor(reranker=LexicalReranker()).postprocess_nodes, nodes, query_str=QUERY)
    assert [scored.score for scored in reranked] == [ranked.score for ranked in ranking]
    assert [scored.metadata["relevance_score"] for scored in reranked] == [ranked.score for ranked in ranking]
    assert {scored.metadata["reranked_by"] for scored in reranked} == {"lexical"}


def test_scores_are_python_floats_that_json_takes(call: Call) -> None:
    (scored,) = call(RerankPostprocessor(reranker=Numpy()).postprocess_nodes, [candidate("one")], query_str=QUERY)
    assert type(scored.score) is type(scored.metadata["relevance_score"]) is float
    json.dumps(scored.to_dict())


def test_the_retrieval_score_is_kept_where_there_was_one(call: Call) -> None:
    nodes = [candidate("red fox", 12.5), candidate("red"), candidate("fox", 0.0)]
    reranked = call(RerankPostprocessor(reranker="lexical").postprocess_nodes, nodes, query_str=QUERY)
    kept = {scored.text: scored.metadata.get("retrieval_score", "none") for scored in reranked}
    assert kept == {"red fox": 12.5, "red": "none", "fox": 0.0}


def test_top_n_keeps_the_best_and_none_keeps_all(call: Call) -> None:
    best = call(RerankPostprocessor(reranker="lexical", top_n=1).postprocess_nodes, candidates(), query_str=QUERY)
    assert texts(best) == ["The red fox jumps."]
    every = [candidate(f"text {number}") for number in range(9)]
    assert len(call(RerankPostprocessor(reranker="lexical").postprocess_nodes, every, query_str=QUERY)) == 5
    everyone = RerankPostprocessor(reranker="lexical", top_n=None)
    assert len(call(everyone.postprocess_nodes, every, query_str=QUERY)) == 9


def test_min_score_drops_what_is_not_relevant(call: Call) -> None:
    postprocessor = RerankPostprocessor(reranker="lexical", min_score=0.01)
    reranked = call(postprocessor.postprocess_nodes, candidates(), query_str=QUERY)
    assert texts(reranked) == ["The red fox jumps.", "A red car."]


def test_input_order_invents_no_scores(call: Call) -> None:
    postprocessor = RerankPostprocessor(reranker=InputOrder(), min_score=0.5)
    reranked = call(postprocessor.postprocess_nodes, candidates(), query_str=QUERY)
    assert texts(reranked) == texts(candidates())
    assert [scored.score for scored in reranked] == [0.9, 0.8, 0.7]  # those that the nodes came with
    assert [scored.metadata["relevance_score"] for scored in reranked] == [None, None, None]
    assert [scored.metadata["retrieval_score"] for scored in reranked] == [0.9, 0.8, 0.7]


# Nodes


def test_no_node_of_an_iterator_is_lost(call: Call) -> None:
    nodes: Any = iter(candidates())
    reranked = call(RerankPostprocessor(reranker="lexical").postprocess_nodes, nodes, query_str=QUERY)
    assert texts(reranked) == ["The red fox jumps.", "A red car.", "The dog sleeps."]


def test_what_goes_in_stays_as_it_is(call: Call) -> None:
    nodes = [candidate("The dog sleeps.", 0.9, page=1), candidate("The red fox jumps.", 0.8, tags=["a"])]
    nodes[0].node.excluded_llm_metadata_keys = ["page"]
    before, same = copy.deepcopy(nodes), list(nodes)
    reranked = call(RerankPostprocessor(reranker="lexical").postprocess_nodes, nodes, query_str=QUERY)
    assert nodes == before
    assert all(now is then for now, then in zip(nodes, same, strict=True))
    for scored in reranked:
        scored.metadata["mine"] = True
        scored.node.excluded_llm_metadata_keys.append("mine")
        scored.node.excluded_embed_metadata_keys.append("mine")
    assert nodes == before


@pytest.mark.parametrize(
    "node",
    [
        TextNode(text="red fox", start_char_idx=3, embedding=[0.5]),
        ImageNode(text="red fox", image_path="fox.png"),
        IndexNode(text="red fox", index_id="fox", obj=["anything"]),
        Document(text="red fox", doc_id="fox"),
        Node(text_resource=MediaResource(text="red fox"), image_resource=MediaResource(data=b"fox")),
    ],
    ids=lambda node: type(node).__name__,
)
def test_nothing_of_a_node_is_lost(node: BaseNode, call: Call) -> None:
    node.metadata["page"] = 7
    node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id="the-book")
    node.excluded_embed_metadata_keys = ["page"]
    postprocessor = RerankPostprocessor(reranker="lexical")
    (reranked,) = call(postprocessor.postprocess_nodes, [NodeWithScore(node=node)], query_str=QUERY)
    copied = reranked.node
    assert copied is not node
    assert type(copied) is type(node)
    assert (copied.node_id, copied.ref_doc_id, copied.embedding) == (node.node_id, "the-book", node.embedding)
    assert copied.excluded_embed_metadata_keys == [
        "page",
        "relevance_score",
        "retrieval_score",
        "reranked_by",
        "relevant_spans",
    ]
    added = {"metadata", "excluded_embed_metadata_keys", "excluded_llm_metadata_keys"}
    assert copied.model_dump(exclude=added) == node.model_dump(exclude=added)
    assert {key: value for key, value in copied.metadata.items() if key not in SCORE_KEYS} == node.metadata


def test_a_class_of_ones_own_around_the_node_is_kept(call: Call) -> None:
    class Numbered(NodeWithScore):
        number: int

    nodes = [Numbered(node=TextNode(text="dog"), number=1), Numbered(node=TextNode(text="red fox"), number=2)]
    reranked = call(RerankPostprocessor(reranker="lexical").postprocess_nodes, nodes, query_str=QUERY)
    assert [scored.number for scored in reranked if isinstance(scored, Numbered)] == [2, 1]


def test_images_without_text_come_last_with_the_score_they_came_with(call: Call) -> None:
    reader = Listening()
    nodes = [
        NodeWithScore(node=ImageNode(image_path="fox.png", metadata={"file_path": "fox.png"}), score=0.9),
        NodeWithScore(node=Node(image_resource=MediaResource(data=b"fox")), score=0.8),
        candidate("The red fox jumps.", 0.7),
    ]
    reranked = call(RerankPostprocessor(reranker=reader).postprocess_nodes, nodes, query_str=QUERY)
    assert reader.read == [["The red fox jumps."]]
    assert [scored.node_id for scored in reranked] == [nodes[2].node_id, nodes[0].node_id, nodes[1].node_id]
    assert [scored.metadata["retrieval_score"] for scored in reranked] == [0.7, 0.9, 0.8]
    assert [scored.score for scored in reranked[1:]] == [0.9, 0.8]
    assert [scored.metadata["relevance_score"] for scored in reranked[1:]] == [None, None]
    strict = RerankPostprocessor(reranker=reader, min_score=0.1)
    assert texts(call(strict.postprocess_nodes, nodes, query_str=QUERY)) == ["The red fox jumps."]


def test_images_alone_ask_nobody(call: Call) -> None:
    reader = Listening()
    nodes = [NodeWithScore(node=ImageNode(image_path="fox.png"))]
    (image,) = call(RerankPostprocessor(reranker=reader).postprocess_nodes, nodes, query_str=QUERY)
    assert (image.score, reader.read) == (None, [])


# What is read


@pytest.mark.parametrize(
    ("mode", "read"),
    [
        (MetadataMode.NONE, "fox"),
        (MetadataMode.EMBED, "title: Foxes\n\nfox"),
        (MetadataMode.LLM, "url: /foxes\n\nfox"),
        (MetadataMode.ALL, "title: Foxes\nurl: /foxes\n\nfox"),
    ],
)
def test_metadata_mode_decides_what_is_read_beside_the_text(mode: MetadataMode, read: str, call: Call) -> None:
    reader = Listening()
    node = TextNode(text="fox", metadata={"title": "Foxes", "url": "/foxes"})
    node.excluded_embed_metadata_keys, node.excluded_llm_metadata_keys = ["url"], ["title"]
    postprocessor = RerankPostprocessor(reranker=reader, metadata_mode=mode)
    call(postprocessor.postprocess_nodes, [NodeWithScore(node=node)], query_str=QUERY)
    assert reader.read == [[read]]


def test_no_prompt_and_no_embedding_sees_the_scores(call: Call) -> None:
    nodes = [candidate("red fox", 0.5, title="Foxes")]
    (reranked,) = call(RerankPostprocessor(reranker="lexical").postprocess_nodes, nodes, query_str=QUERY)
    assert reranked.metadata.keys() >= SCORE_KEYS
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        assert reranked.get_content(mode) == "title: Foxes\n\nred fox"


@pytest.mark.parametrize("mode", MetadataMode)
def test_a_second_reranker_never_reads_the_scores_of_the_first(mode: MetadataMode, call: Call) -> None:
    reader = Listening()
    second = RerankPostprocessor(reranker=reader, metadata_mode=mode)
    first = call(RerankPostprocessor(reranker="lexical").postprocess_nodes, candidates(), query_str=QUERY)
    call(second.postprocess_nodes, first, query_str=QUERY)
    call(second.postprocess_nodes, candidates(), query_str=QUERY)
    assert sorted(reader.read[0]) == sorted(reader.read[1]) == sorted(texts(candidates()))


def test_a_second_reranker_keeps_the_first_stages_score(call: Call) -> None:
    once = call(RerankPostprocessor(reranker="lexical").postprocess_nodes, candidates(), query_str=QUERY)
    twice = call(RerankPostprocessor(reranker=Listening()).postprocess_nodes, once, query_str=QUERY)
    kept = {scored.text: scored.metadata["retrieval_score"] for scored in twice}
    assert kept == {"The dog sleeps.": 0.9, "The red fox jumps.": 0.8, "A red car.": 0.7}
    assert {scored.metadata["reranked_by"] for scored in twice} == {"listening"}
    for scored in twice:
        assert scored.score == scored.metadata["relevance_score"]
        assert len(scored.node.excluded_llm_metadata_keys) == len(set(scored.node.excluded_llm_metadata_keys))


@pytest.mark.parametrize("between", [lambda node: node, rewrapped])
@pytest.mark.parametrize("second", ["lexical", "input-order"])
def test_the_retrieval_score_outlasts_any_number_of_rerankers(
    second: str, between: Callable[[NodeWithScore], NodeWithScore], call: Call
) -> None:
    nodes = candidates()
    for reranker in ("lexical", second, "lexical"):
        postprocessor = RerankPostprocessor(reranker=reranker)
        nodes = [between(node) for node in call(postprocessor.postprocess_nodes, nodes, query_str=QUERY)]
    kept = {scored.text: scored.metadata["retrieval_score"] for scored in nodes}
    assert kept == {"The dog sleeps.": 0.9, "The red fox jumps.": 0.8, "A red car.": 0.7}


def stored_again(nodes: Sequence[NodeWithScore]) -> list[NodeWithScore]:
    """What an index of them gives back for another query, with the scores of its own."""
    index = VectorStoreIndex([scored.node for scored in nodes], embed_model=MockEmbedding(embed_dim=2))
    return index.as_retriever(similarity_top_k=len(nodes)).retrieve("anything")


def held_in_memory(nodes: Sequence[NodeWithScore]) -> list[NodeWithScore]:
    return [NodeWithScore(node=scored.node, score=0.42) for scored in nodes]


def found_without_a_score(nodes: Sequence[NodeWithScore]) -> list[NodeWithScore]:
    return SummaryIndex([scored.node for scored in nodes]).as_retriever().retrieve("anything")


def found_with_the_very_same_score(nodes: Sequence[NodeWithScore]) -> list[NodeWithScore]:
    """By chance the index gives what the reranker gave then, as 0 and 1 are common."""
    return [NodeWithScore(node=TextNode(**scored.node.to_dict()), score=scored.score) for scored in nodes]


@pytest.mark.parametrize("first", ["lexical", "input-order"])
@pytest.mark.parametrize("query", [QUERY, "another query"])
@pytest.mark.parametrize("found", [stored_again, held_in_memory, found_without_a_score, found_with_the_very_same_score])
def test_a_score_of_an_earlier_call_is_never_taken_for_this_ones(
    found: Callable[[Sequence[NodeWithScore]], list[NodeWithScore]], query: str, first: str
) -> None:
    now = found(RerankPostprocessor(reranker=first).postprocess_nodes(candidates(), query_str=QUERY))
    reranked = RerankPostprocessor(reranker="lexical").postprocess_nodes(now, query_str=query)
    assert {scored.node_id: scored.metadata.get("retrieval_score") for scored in reranked} == {
        scored.node_id: scored.score for scored in now
    }


@pytest.mark.parametrize("reranker", ["lexical", "input-order"])
def test_a_retrieval_score_of_any_type_becomes_a_float_or_is_dropped(reranker: str, call: Call) -> None:
    number, text, nothing = (candidate("red fox", retrieval_score="high", page=3) for _ in range(3))
    given: list[Any] = [np.float32(0.25), "0.25", math.nan]
    for node, score in zip((number, text, nothing), given, strict=True):
        node.score = score  # assignment is not validated, and other postprocessors do this
    postprocessor = RerankPostprocessor(reranker=reranker)
    reranked = call(postprocessor.postprocess_nodes, [number, text, nothing], query_str=QUERY)
    assert [scored.metadata.get("retrieval_score") for scored in reranked] == [0.25, 0.25, None]
    assert {type(scored.score) for scored in reranked[:2]} == {float}
    assert json.loads(json.dumps([scored.to_dict() for scored in reranked], allow_nan=False))


def test_the_next_query_over_the_same_index_reads_no_scores(call: Call) -> None:
    reader = Listening()
    postprocessor = RerankPostprocessor(reranker=reader)
    stored = [TextNode(text="red fox"), TextNode(text="brown dog")]
    retriever = VectorStoreIndex(stored, embed_model=MockEmbedding(embed_dim=2)).as_retriever()
    for _ in range(2):
        call(postprocessor.postprocess_nodes, retriever.retrieve(QUERY), query_str=QUERY)
    assert sorted(reader.read[0]) == sorted(reader.read[1]) == ["brown dog", "red fox"]
    assert [node.metadata for node in stored] == [{}, {}]


def test_a_retrieval_score_that_another_postprocessor_left_in_the_store_is_not_read(call: Call) -> None:
    reader = Listening()
    postprocessor = RerankPostprocessor(reranker=reader)
    nodes = [candidate("red fox", 0.5, retrieval_score=0.83)]  # as sentence-transformer's does: keep_retrieval_score
    (reranked,) = call(postprocessor.postprocess_nodes, nodes, query_str=QUERY)
    assert reader.read == [["red fox"]]
    assert reranked.metadata["retrieval_score"] == 0.5


# Calls


async def test_the_synchronous_method_works_on_a_running_loop() -> None:
    postprocessor = RerankPostprocessor(reranker="lexical", top_n=1)
    assert texts(postprocessor.postprocess_nodes(candidates(), query_str=QUERY)) == ["The red fox jumps."]


def test_a_missing_query_is_an_error_that_says_what_to_pass(call: Call) -> None:
    for nodes in ([], candidates()):
        with pytest.raises(ValueError, match=r"pass query_str=\.\.\. or query_bundle=\.\.\."):
            call(RerankPostprocessor(reranker="lexical").postprocess_nodes, nodes)


def test_a_query_bundle_is_read_by_its_text(call: Call) -> None:
    bundle = QueryBundle(QUERY, custom_embedding_strs=["something else"])
    postprocessor = RerankPostprocessor(reranker="lexical", top_n=1)
    assert texts(call(postprocessor.postprocess_nodes, candidates(), bundle)) == ["The red fox jumps."]


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ({"top_n": 0}, "use None to get every document back"),
        ({"top_n": "1"}, "top_n must be an integer of at least 1 or None, got '1'"),
        ({"min_score": "a"}, "min_score must be a number, got 'a'"),
        ({"min_score": 1.5}, "must be between 0 and 1"),
        ({"reranker": "lexcial"}, "did you mean 'lexical'"),
        ({"reranker": {"class": "LexicalReranker", "parameters": {"k1": -1}}}, "k1 must be"),
        ({"metadata_mode": "some"}, "'all', 'embed', 'llm' or 'none'"),
    ],
)
def test_wrong_arguments_are_refused_at_once(arguments: dict[str, object], advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        RerankPostprocessor(**{"reranker": "lexical", **arguments})  # type: ignore[arg-type]
    postprocessor = RerankPostprocessor(reranker="lexical", top_n=2)
    before = repr(postprocessor)
    ((name, value),) = arguments.items()
    with pytest.raises(ValueError, match=advice):
        setattr(postprocessor, name, value)
    assert repr(postprocessor) == before


def test_a_setting_of_another_name_is_refused_and_a_key_is_not_shown() -> None:
    with pytest.raises(ValueError, match=r"topn\n.*not permitted"):
        RerankPostprocessor(reranker="lexical", topn=3)  # type: ignore[call-arg]
    postprocessor = RerankPostprocessor(reranker="lexical")
    for attempt in (
        lambda: RerankPostprocessor(reranker="lexical", api_key="sk-very-secret"),  # type: ignore[call-arg]
        lambda: RerankPostprocessor(model="rerank-v3.5", api_key="sk-very-secret"),  # type: ignore[call-arg]
        lambda: setattr(postprocessor, "api_key", "sk-very-secret"),
    ):
        with pytest.raises(ValueError, match=r"api_key|reranker") as refused:
            attempt()
        assert "secret" not in str(refused.value) + repr(refused.value)


@pytest.mark.parametrize("wrong", [LexicalReranker, RerankPostprocessor(reranker="lexical"), None])
def test_what_is_no_reranker_is_refused_with_advice(wrong: Any) -> None:
    advice = r"create an instance: LexicalReranker\(" if wrong is LexicalReranker else "PostprocessorReranker"
    with pytest.raises(TypeError, match=advice):
        RerankPostprocessor(reranker=wrong)
    postprocessor = RerankPostprocessor(reranker="lexical")
    with pytest.raises(TypeError, match=advice):
        postprocessor.reranker = wrong


def test_numbers_of_numpys_become_pythons_own() -> None:
    postprocessor = RerankPostprocessor(reranker="lexical", top_n=np.int64(2), min_score=np.float32(0.25))  # type: ignore[arg-type]
    assert json.loads(postprocessor.to_json())["top_n"] == 2
    postprocessor.top_n, postprocessor.min_score = np.int8(1), np.float16(0.5)  # type: ignore[assignment]
    assert (type(postprocessor.top_n), type(postprocessor.min_score)) == (int, float)


def test_the_signature_is_that_of_the_fields() -> None:
    names = ["callback_manager", "reranker", "top_n", "min_score", "metadata_mode", "text", "min_keep"]
    names += ["passages", "max_tokens", "count_tokens", "skip_oversized"]
    assert list(inspect.signature(RerankPostprocessor).parameters) == names


def test_a_subclass_may_have_fields_of_its_own() -> None:
    class Labelled(RerankPostprocessor):
        label: str

    labelled = Labelled(reranker="lexical", label="second stage")
    assert pickle.loads(pickle.dumps(labelled.label)) == "second stage"
    assert Labelled.from_dict(labelled.to_dict()).label == "second stage"


def test_a_name_is_built_once_and_fields_may_be_assigned_to() -> None:
    postprocessor = RerankPostprocessor(reranker="lexical")
    assert postprocessor._load("lexical") is postprocessor._load("lexical")
    postprocessor.reranker, postprocessor.top_n = "input-order", 1
    assert texts(postprocessor.postprocess_nodes(candidates(), query_str=QUERY)) == ["The dog sleeps."]
    for reranker in (LexicalReranker(), {"class": "LexicalReranker", "parameters": {}}):
        changed = postprocessor.model_copy(update={"reranker": reranker})
        assert texts(changed.postprocess_nodes(candidates(), query_str=QUERY)) == ["The red fox jumps."]


def test_threads_may_share_one() -> None:
    postprocessor = RerankPostprocessor(reranker="lexical", top_n=1)
    barrier = threading.Barrier(8)

    def rerank(number: int) -> list[str]:
        barrier.wait()
        nodes = [candidate("nothing"), candidate(f"fox {number}"), candidate("else")]
        found = []
        for _ in range(20):
            found += texts(postprocessor.postprocess_nodes(nodes, query_str=f"{number}"))
        return found

    with ThreadPoolExecutor(8) as threads:
        for number, found in enumerate(threads.map(rerank, range(8))):
            assert found == [f"fox {number}"] * 20


# Events


def reranks(events: list[BaseEvent]) -> list[BaseEvent]:
    return [event for event in events if isinstance(event, (ReRankStartEvent, ReRankEndEvent))]


def own(spans: Sequence[object]) -> list[object]:
    return [span for span in spans if getattr(span, "id_", "").startswith("RerankPostprocessor.")]


def test_a_call_is_reported_from_start_to_end_in_one_span(
    call: Call, events: list[BaseEvent], spans: SimpleSpanHandler
) -> None:
    nodes = candidates()
    reranked = call(RerankPostprocessor(reranker="lexical", top_n=2).postprocess_nodes, nodes, query_str=QUERY)
    start, end = reranks(events)
    assert isinstance(start, ReRankStartEvent)
    assert isinstance(end, ReRankEndEvent)
    assert isinstance(start.query, QueryBundle)
    assert (start.query.query_str, start.top_n, start.model_name, start.nodes) == (QUERY, 2, "lexical", nodes)
    assert end.nodes == reranked
    (span,) = own(spans.completed_spans)
    assert start.span_id == end.span_id == getattr(span, "id_", None)
    assert not spans.open_spans
    json.dumps([event.model_dump(mode="json") for event in (start, end)])


def test_without_top_n_the_start_event_counts_the_nodes(call: Call, events: list[BaseEvent]) -> None:
    call(RerankPostprocessor(reranker="lexical", top_n=None).postprocess_nodes, candidates(), query_str=QUERY)
    assert [event.top_n for event in events if isinstance(event, ReRankStartEvent)] == [3]


def test_no_nodes_give_no_nodes_and_both_events(call: Call, events: list[BaseEvent], spans: SimpleSpanHandler) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    postprocessor = RerankPostprocessor(reranker=Overloaded(), callback_manager=CallbackManager([debug]))
    assert call(postprocessor.postprocess_nodes, [], query_str=QUERY) == []
    start, end = reranks(events)
    assert isinstance(start, ReRankStartEvent)
    assert isinstance(end, ReRankEndEvent)
    assert (start.nodes, end.nodes) == ([], [])
    assert len(debug.get_event_pairs(CBEventType.RERANKING)) == 1
    assert len(own(spans.completed_spans)) == 1


def test_legacy_callbacks_get_what_core_integrations_send(call: Call) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    nodes = candidates()
    postprocessor = RerankPostprocessor(reranker="lexical", callback_manager=CallbackManager([debug]))
    reranked = call(postprocessor.postprocess_nodes, nodes, query_str=QUERY)
    ((start, end),) = debug.get_event_pairs(CBEventType.RERANKING)
    assert start.payload == {
        EventPayload.NODES: nodes,
        EventPayload.MODEL_NAME: "lexical",
        EventPayload.QUERY_STR: QUERY,
        EventPayload.TOP_K: 5,
    }
    said = {"reranked_by": "lexical", "usage": {}, "truncated": 0, "failures": (), "duplicates": {}}
    said["query_truncated"] = False
    assert end.payload == {EventPayload.NODES: reranked, EventPayload.ADDITIONAL_KWARGS: said}


class Billed(Listening):
    """As a hosted reranker, it says what it cost."""

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        return Scores([float(len(document)) for document in documents], usage={"search_units": 1}, truncated=2)


def test_usage_and_the_reasons_of_a_fallback_are_in_both_reports(call: Call, events: list[BaseEvent]) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    manager = CallbackManager([debug])
    postprocessor = RerankPostprocessor(reranker=Fallback([Overloaded(), Billed()]), callback_manager=manager)
    call(postprocessor.postprocess_nodes, candidates(), query_str=QUERY)
    start, end = reranks(events)
    ((_, legacy_end),) = debug.get_event_pairs(CBEventType.RERANKING)
    assert legacy_end.payload is not None
    for said in (end.tags, legacy_end.payload[EventPayload.ADDITIONAL_KWARGS]):
        assert (said["usage"], said["truncated"], said["reranked_by"]) == ({"search_units": 1}, 2, "listening")
        [failure] = said["failures"]
        assert (failure.reranker, failure.error) == ("hosted:overloaded", "RateLimited")
    assert json.loads(end.model_dump_json())["tags"]["failures"][0]["error"] == "RateLimited"
    assert start.tags == {}


def test_an_instruction_is_in_both_reports(call: Call, events: list[BaseEvent]) -> None:
    class Instructed(Billed):
        instruction = "Prefer news"

    debug = LlamaDebugHandler(print_trace_on_end=False)
    postprocessor = RerankPostprocessor(reranker=Instructed(), callback_manager=CallbackManager([debug]))
    call(postprocessor.postprocess_nodes, candidates(), query_str=QUERY)
    ((_, legacy_end),) = debug.get_event_pairs(CBEventType.RERANKING)
    assert legacy_end.payload is not None
    for said in (reranks(events)[1].tags, legacy_end.payload[EventPayload.ADDITIONAL_KWARGS]):
        assert said["instruction"] == "Prefer news"


def test_tags_of_the_application_stay_beside_those_of_the_rerank(call: Call, events: list[BaseEvent]) -> None:
    with instrument_tags({"tenant": "a"}):
        call(RerankPostprocessor(reranker="lexical").postprocess_nodes, candidates(), query_str=QUERY)
    start, end = reranks(events)
    assert start.tags == {"tenant": "a"}
    assert (end.tags["tenant"], end.tags["usage"]) == ("a", {})


def test_a_failure_is_raised_and_ends_what_it_started(
    call: Call, events: list[BaseEvent], spans: SimpleSpanHandler
) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    postprocessor = RerankPostprocessor(reranker=Overloaded(), callback_manager=CallbackManager([debug]))
    with pytest.raises(RateLimited, match="wait 7 seconds") as caught:
        call(postprocessor.postprocess_nodes, candidates(), query_str=QUERY)
    start, end = reranks(events)
    assert isinstance(start, ReRankStartEvent)
    assert isinstance(end, ReRankEndEvent)
    assert (start.model_name, end.nodes) == ("hosted:overloaded", [])
    ((_, legacy_end),) = debug.get_event_pairs(CBEventType.RERANKING)
    assert legacy_end.payload == {EventPayload.EXCEPTION: caught.value}
    assert len(own(spans.dropped_spans)) == 1
    assert not own(spans.completed_spans)
    assert not spans.open_spans


def test_a_blank_query_is_refused_and_ends_what_it_started(call: Call, events: list[BaseEvent]) -> None:
    with pytest.raises(ValueError, match="pass a question"):
        call(RerankPostprocessor(reranker="lexical").postprocess_nodes, candidates(), query_str=" ")
    assert [type(event) for event in reranks(events)] == [ReRankStartEvent, ReRankEndEvent]


async def test_a_cancelled_call_ends_what_it_started(events: list[BaseEvent], spans: SimpleSpanHandler) -> None:
    begun = asyncio.Event()

    class Stuck(Overloaded):
        async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
            begun.set()
            await asyncio.sleep(60)
            raise AssertionError

    debug = LlamaDebugHandler(print_trace_on_end=False)
    postprocessor = RerankPostprocessor(reranker=Stuck(), callback_manager=CallbackManager([debug]))
    task = asyncio.create_task(postprocessor.apostprocess_nodes(candidates(), query_str=QUERY))
    await asyncio.wait_for(begun.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [type(event) for event in reranks(events)] == [ReRankStartEvent, ReRankEndEvent]
    assert len(debug.get_event_pairs(CBEventType.RERANKING)[0]) == 2
    assert len(own(spans.dropped_spans)) == 1


# Configuration that travels


def test_to_dict_and_back_keeps_every_setting() -> None:
    settings: dict[str, Any] = {"min_keep": 2, "passages": True, "max_tokens": 99, "skip_oversized": True}
    postprocessor = RerankPostprocessor(
        reranker="lexical", top_n=None, min_score=0.25, metadata_mode=MetadataMode.LLM, **settings
    )
    data = postprocessor.to_dict()
    assert data == {
        "class_name": "RerankPostprocessor",
        "reranker": "lexical",
        "top_n": None,
        "min_score": 0.25,
        "metadata_mode": "llm",
        "text": None,
        **settings,
    }
    for restored in (
        RerankPostprocessor.from_dict(data),
        RerankPostprocessor.from_json(postprocessor.to_json()),
        pickle.loads(pickle.dumps(postprocessor)),
        copy.deepcopy(postprocessor),
    ):
        assert restored.to_dict() == data
        assert restored.metadata_mode is MetadataMode.LLM
        assert texts(restored.postprocess_nodes(candidates(), query_str=QUERY))[0] == "The red fox jumps."


@pytest.mark.parametrize(
    ("text", "read"), [(["page"], "4\nA red car."), ({"page": "page", "body": None}, "page: 4\nbody: A red car.")]
)
def test_text_says_what_is_read_and_survives_to_dict(
    call: Call, text: list[str] | dict[str, str | None], read: str
) -> None:
    node, listening = candidate("A red car.", page=4, other="not read"), Listening()
    for reranker in (RerankPostprocessor(reranker="lexical", text=text), RerankPostprocessor(reranker="lexical")):
        reranker.text = text
        restored = RerankPostprocessor.from_json(json.dumps(reranker.to_dict()), reranker=listening)
        for one in (restored, pickle.loads(pickle.dumps(restored.model_copy(update={"reranker": "lexical"})))):
            one.reranker = listening
            (scored,) = call(one.postprocess_nodes, [node], query_str=QUERY)
            assert scored.node.get_content() == "A red car."
    assert listening.read == [[read]] * 4


def test_a_function_may_read_a_node_without_text_of_its_own(call: Call) -> None:
    image = NodeWithScore(node=ImageNode(metadata={"caption": "A red fox."}))
    by_caption = RerankPostprocessor(reranker="lexical", text=lambda node: str(node.metadata.get("caption", "")))
    assert call(by_caption.postprocess_nodes, [image], query_str=QUERY)[0].metadata["relevance_score"] > 0
    with pytest.raises(TypeError, match="a single key needs a list"):
        RerankPostprocessor(reranker="lexical", text="caption")


def test_to_dict_and_back_keeps_the_options_of_a_reranker() -> None:
    local = CrossEncoderReranker("some/model", max_length=128, dtype="float32")
    reranker = Cascade(LexicalReranker(b=0.5), LongDocuments(local, stride=64), keep=7)
    postprocessor = RerankPostprocessor(reranker=reranker, top_n=3)
    written = json.dumps(postprocessor.to_dict())
    for restored in (
        RerankPostprocessor.from_dict(json.loads(written)),
        RerankPostprocessor.from_json(postprocessor.to_json()),
        RerankPostprocessor.model_validate_json(postprocessor.model_dump_json()),
        pickle.loads(pickle.dumps(postprocessor)),
    ):
        assert (repr(restored.reranker), restored.top_n) == (repr(reranker), 3)
        assert json.dumps(restored.to_dict()) == written


def test_to_dict_holds_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JINA_API_KEY", "from-the-environment")
    postprocessor = RerankPostprocessor(reranker=JinaReranker("jina-reranker-m0", api_key="sk-very-secret", retries=0))
    assert "secret" not in postprocessor.to_json() + repr(postprocessor) + str(postprocessor)
    assert b"sk-very" not in pickle.dumps(postprocessor)
    restored = RerankPostprocessor.from_json(postprocessor.to_json()).reranker
    assert isinstance(restored, JinaReranker)
    assert (restored.model, restored.retries) == ("jina-reranker-m0", 0)


def test_to_dict_of_somebodys_own_reranker_says_what_to_do_instead() -> None:
    class Keyed(Overloaded):
        def __init__(self) -> None:
            self.key = "sk-very-secret"

    postprocessor = RerankPostprocessor(reranker=Keyed(), top_n=3)
    with pytest.raises(ValueError, match=r"Keyed is neither .* nor registered.* pass the reranker itself"):
        postprocessor.to_dict()
    assert "secret" not in repr(postprocessor) + str(postprocessor)
    restored = RerankPostprocessor.from_dict(postprocessor.to_dict(exclude={"reranker"}), reranker=Keyed())
    assert (type(restored.reranker), restored.top_n) == (Keyed, 3)


def test_from_dict_makes_nothing_but_rerankers_of_this_library() -> None:
    with pytest.raises(ValueError, match="use one of: "):
        RerankPostprocessor.from_dict({"reranker": {"class": "subprocess.run", "parameters": {"args": "true"}}})


def test_to_dict_of_a_function_of_text_says_what_to_do_instead() -> None:
    def title(node: BaseNode) -> str:
        return str(node.metadata["title"])

    postprocessor = RerankPostprocessor(reranker="lexical", top_n=3, text=title)
    for write in (postprocessor.to_dict, postprocessor.to_json, postprocessor.model_dump_json):
        with pytest.raises(
            ValueError, match=r"text is a function, .*to_dict\(exclude=\{'text'\}\).*from_dict\(data, text="
        ):
            write()
    restored = RerankPostprocessor.from_dict(postprocessor.to_dict(exclude={"text"}), text=title)
    assert (restored.text, restored.top_n) == (title, 3)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, copy.copy, lambda one: one.model_copy(deep=True)])
def test_copies_report_to_the_same_callbacks(duplicate: Callable[[Any], RerankPostprocessor]) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    debug.lock = threading.Lock()  # type: ignore[attr-defined]  # which cannot be copied
    other = duplicate(RerankPostprocessor(reranker="lexical", callback_manager=CallbackManager([debug])))
    other.postprocess_nodes(candidates(), query_str=QUERY)
    assert len(debug.get_event_pairs(CBEventType.RERANKING)) == 1
    other.top_n = 1
    assert len(other.postprocess_nodes(candidates(), query_str=QUERY)) == 1


def test_what_cannot_be_pickled_is_an_error_and_breaks_nothing() -> None:
    class Holding(Listening):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

    postprocessor = RerankPostprocessor(reranker=Holding())
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError), match="pickle"):
        pickle.dumps(postprocessor)
    assert len(postprocessor.postprocess_nodes(candidates(), query_str=QUERY)) == 3


def test_pickle_leaves_callbacks_behind() -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    debug.lock = threading.Lock()  # type: ignore[attr-defined]  # as handlers with a connection have
    postprocessor = RerankPostprocessor(reranker="lexical", callback_manager=CallbackManager([debug]))
    restored = pickle.loads(pickle.dumps(postprocessor))
    assert restored.callback_manager.handlers == []
    assert postprocessor.callback_manager.handlers == [debug]
    assert len(restored.postprocess_nodes(candidates(), query_str=QUERY)) == 3
