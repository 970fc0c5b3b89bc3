from __future__ import annotations

import asyncio
import copy
import json
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping

import pytest

pytest.importorskip("llama_index.core")

import numpy as np
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.schema import MetadataMode, NodeWithScore
from llama_index.core.vector_stores.utils import node_to_metadata_dict

from ksdk_rerank import KnowledgeSDKClient
from ksdk_rerank.errors import MissingKey, SearchUnavailable, TimedOut
from ksdk_rerank.testing import Fault, KnowledgeSDKStandIn, LocalServer, Reply
from llamaindex_ksdk_rerank import KnowledgeSDKRetriever

Call = Callable[..., list[NodeWithScore]]

KEY = "knowledgesdk_test_very_secret"

HIT: Mapping[str, object] = {
    "id": "ki_01",
    "title": "Plans",
    "content": "The Team plan has five seats.",
    "category": "Pricing",
    "source": "https://example.com/pricing",
    "score": 12.5,
    "metadata": {"author": {"name": "Zoë"}, "tags": ["a", "b"], "reviewed": True, "editor": None},
}


@pytest.fixture
def answering() -> Iterator[Callable[..., KnowledgeSDKRetriever]]:
    """A retriever over a server that answers every search with the given hits."""
    hits: list[object] = []
    with LocalServer(lambda request: Reply.json({"hits": hits, "total": len(hits), "query": "plans"})) as server:

        def retriever(*answer: object) -> KnowledgeSDKRetriever:
            hits[:] = answer
            return KnowledgeSDKRetriever(api_key=KEY, base_url=server.url)

        yield retriever


def over(stand_in: KnowledgeSDKStandIn, similarity_top_k: int = 20) -> KnowledgeSDKRetriever:
    return KnowledgeSDKRetriever(
        similarity_top_k=similarity_top_k, api_key=stand_in.api_key, base_url=stand_in.base_url
    )


def test_nothing_the_service_sent_is_lost_and_all_can_be_written_as_json(
    answering: Callable[..., KnowledgeSDKRetriever],
) -> None:
    nested = {"title": "R", "page": float("nan"), "deep": {"cut": "gr\ud83d"}}
    (found,) = answering({"id": 1, "content": "cut \ud83d", "title": "T", "metadata": nested}).retrieve("key")
    assert found.text == "cut \ufffd"
    metadata = {"title": "T", "metadata.title": "R", "page": None, "deep": '{"cut": "gr\ufffd"}'}
    assert metadata.items() <= found.node.metadata.items()
    json.dumps(found.node.to_dict(), ensure_ascii=False, allow_nan=False).encode()


def test_hits_become_nodes_in_the_services_order(stand_in: KnowledgeSDKStandIn, call: Call) -> None:
    query = "rotate an API key"
    with KnowledgeSDKClient(stand_in.api_key, base_url=stand_in.base_url) as client:
        hits = client.search(query)
    nodes = call(over(stand_in).retrieve, query)
    assert len(nodes) > 1
    assert [(n.node_id, n.text, n.score) for n in nodes] == [(hit.id, hit.text, hit.score) for hit in hits]
    assert [(n.metadata["title"], n.metadata["source"]) for n in nodes] == [(hit.title, hit.source) for hit in hits]


def test_similarity_top_k_is_how_many_are_asked_for(stand_in: KnowledgeSDKStandIn, call: Call) -> None:
    assert len(call(over(stand_in, 2).retrieve, "API key")) == 2
    call(over(stand_in).retrieve, "API key")
    assert [request.json() for request in stand_in.requests] == [
        {"query": "API key", "limit": 2},
        {"query": "API key", "limit": 20},
    ]


def test_the_llm_reads_title_and_source_and_the_reranker_the_title(
    answering: Callable[..., KnowledgeSDKRetriever], call: Call
) -> None:
    (found,) = call(answering(HIT).retrieve, "plans")
    text = "The Team plan has five seats."
    assert found.get_content() == text
    assert found.get_content(MetadataMode.EMBED) == f"title: Plans\n\n{text}"
    assert found.get_content(MetadataMode.LLM) == f"title: Plans\nsource: https://example.com/pricing\n\n{text}"


def test_everything_else_is_in_metadata_that_vector_stores_and_json_take(
    answering: Callable[..., KnowledgeSDKRetriever], call: Call
) -> None:
    (found,) = call(answering(HIT).retrieve, "plans")
    assert found.metadata == {
        "title": "Plans",
        "source": "https://example.com/pricing",
        "author": '{"name": "Zoë"}',
        "tags": '["a", "b"]',
        "reviewed": True,
        "editor": None,
        "category": "Pricing",
    }
    json.dumps(node_to_metadata_dict(found.node, flat_metadata=True))


def test_a_hit_with_little_in_it_makes_a_plain_node(
    answering: Callable[..., KnowledgeSDKRetriever], call: Call
) -> None:
    (found,) = call(answering({"content": "Only text."}).retrieve, "plans")
    assert (found.text, found.score, found.metadata) == ("Only text.", None, {})
    assert found.node_id == call(answering({"content": "Only text."}).retrieve, "plans")[0].node_id


def test_hits_of_one_id_become_nodes_of_their_own_the_same_ones_each_time(
    answering: Callable[..., KnowledgeSDKRetriever], call: Call
) -> None:
    hits: list[dict[str, object]] = [
        {"id": "a", "content": "First passage.", "title": "A"},
        {"id": "b", "content": "Another item."},
        {"id": "a", "content": "Second passage.", "metadata": {"knowledgesdk_id": "theirs", "page": 4}},
        {"id": "a", "content": "Second passage."},
        {"id": 7, "content": "A number."},
        {"id": "7", "content": "The same as a string."},
        {"content": "No id.", "category": "A"},
        {"content": "No id.", "category": "B"},
    ]
    found = call(answering(*hits).retrieve, "plans")
    ids = [node.node_id for node in found]
    assert [node.text for node in found] == [hit["content"] for hit in hits]
    assert len(set(ids)) == len(hits)
    assert (ids[0], ids[1], ids[4]) == ("a", "b", "7")
    service_ids = [node.metadata.get("knowledgesdk_id") for node in found]
    assert service_ids == ["a", None, "a", "a", "7", "7", ids[6], ids[6]]
    assert found[2].metadata["page"] == 4
    assert ids == [node.node_id for node in call(answering(*hits).retrieve, "plans")]
    # A passage has the same id wherever it stands among the others.
    assert ids[2] == call(answering(hits[0], hits[1], hits[2]).retrieve, "other")[2].node_id
    for node in found:
        assert "knowledgesdk_id" not in node.get_content(MetadataMode.LLM) + node.get_content(MetadataMode.EMBED)


def test_a_made_id_is_never_that_of_another_hit(answering: Callable[..., KnowledgeSDKRetriever], call: Call) -> None:
    hits = [{"id": "a", "content": "First passage."}, {"id": "a", "content": "Second passage."}]
    made = call(answering(*hits).retrieve, "plans")[1].node_id
    found = call(answering(*hits, {"id": made, "content": "An item of that id."}).retrieve, "plans")
    assert len({node.node_id for node in found}) == 3
    assert found[2].node_id == made


def test_scores_that_the_knowledge_base_stores_are_not_those_of_this_search(
    answering: Callable[..., KnowledgeSDKRetriever], call: Call
) -> None:
    stale = {"relevance_score": 0.9, "retrieval_score": 3.5, "reranked_by": "lexical", "page": 4}
    (found,) = call(answering({"id": "a", "content": "A key.", "metadata": stale}).retrieve, "plans")
    assert found.metadata == {"page": 4}


def test_no_hits_are_no_nodes(answering: Callable[..., KnowledgeSDKRetriever], call: Call) -> None:
    assert call(answering().retrieve, "plans") == []


def test_key_and_address_come_from_the_environment(
    stand_in: KnowledgeSDKStandIn, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.setenv("KNOWLEDGESDK_API_KEY", stand_in.api_key)
    monkeypatch.setenv("KNOWLEDGESDK_BASE_URL", stand_in.base_url)
    assert call(KnowledgeSDKRetriever().retrieve, "rotate")


def test_the_key_is_not_shown() -> None:
    retriever = KnowledgeSDKRetriever(api_key=KEY)
    assert KEY not in f"{retriever!r} {vars(retriever)} {retriever.get_prompts()}"


def test_failures_are_raised(stand_in: KnowledgeSDKStandIn, call: Call) -> None:
    with stand_in.failing(Fault(status=404)), pytest.raises(SearchUnavailable):
        call(over(stand_in).retrieve, "rotate")


def test_the_time_out_is_in_seconds(stand_in: KnowledgeSDKStandIn, call: Call) -> None:
    retriever = KnowledgeSDKRetriever(api_key=stand_in.api_key, base_url=stand_in.base_url, timeout=0.1)
    with stand_in.failing(Fault(delay=10)), pytest.raises(TimedOut):
        call(retriever.retrieve, "rotate")


async def test_a_slow_search_does_not_hold_up_the_loop(stand_in: KnowledgeSDKStandIn) -> None:
    retriever = over(stand_in)
    with stand_in.failing(Fault(delay=0.3)):
        search = asyncio.create_task(retriever.aretrieve("rotate"))
        await asyncio.sleep(0.05)
        assert not search.done()
        assert await search


def test_a_blank_query_is_refused(call: Call) -> None:
    with pytest.raises(ValueError, match="pass a question or keywords"):
        call(KnowledgeSDKRetriever(api_key=KEY).retrieve, " ")


@pytest.mark.parametrize("similarity_top_k", [0, "3"])
def test_similarity_top_k_must_be_a_number_of_candidates(similarity_top_k: int) -> None:
    with pytest.raises(ValueError, match="20 is usual"):
        KnowledgeSDKRetriever(similarity_top_k=similarity_top_k, api_key=KEY)
    retriever = KnowledgeSDKRetriever(similarity_top_k=2, api_key=KEY)
    with pytest.raises(ValueError, match="similarity_top_k must be"):
        retriever.similarity_top_k = similarity_top_k
    assert retriever.similarity_top_k == 2


def test_similarity_top_k_may_be_numpys_and_be_assigned_to(stand_in: KnowledgeSDKStandIn, call: Call) -> None:
    retriever = over(stand_in, np.int64(2))  # type: ignore[arg-type]
    assert type(retriever.similarity_top_k) is int
    assert len(call(retriever.retrieve, "API key")) == 2
    retriever.similarity_top_k = 1
    assert len(call(retriever.retrieve, "API key")) == 1


class Closable(KnowledgeSDKClient):
    closed = 0

    def close(self) -> None:
        self.closed += 1
        super().close()

    async def aclose(self) -> None:
        self.closed += 1
        await super().aclose()


def test_a_client_of_ones_own_is_used_and_stays_open(stand_in: KnowledgeSDKStandIn, call: Call) -> None:
    with Closable(stand_in.api_key, base_url=stand_in.base_url) as client:
        retriever = KnowledgeSDKRetriever(client=client)
        assert call(retriever.retrieve, "rotate")
        call(retriever.close)
        assert client.closed == 0


def test_what_the_retriever_opened_it_closes(
    stand_in: KnowledgeSDKStandIn, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ksdk_rerank.knowledgesdk.client.KnowledgeSDKClient", Closable)
    retriever = over(stand_in)
    call(retriever.close)
    assert getattr(retriever.client, "closed", None) == 1
    assert call(retriever.retrieve, "rotate")


@pytest.mark.parametrize("also", [{"api_key": KEY}, {"base_url": "https://example.com"}, {"timeout": 3.0}])
def test_a_client_excludes_what_it_is_made_of(also: dict[str, object]) -> None:
    client = KnowledgeSDKClient(KEY)
    with pytest.raises(ValueError, match="pass either the client or these"):
        KnowledgeSDKRetriever(client=client, **also)  # type: ignore[arg-type]


def test_a_pickle_leaves_callbacks_behind(stand_in: KnowledgeSDKStandIn, call: Call) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    debug.lock = threading.Lock()  # type: ignore[attr-defined]  # as handlers with a connection have
    retriever = over(stand_in, 2)
    retriever.callback_manager = CallbackManager([debug])
    for other in (pickle.loads(pickle.dumps(retriever)), copy.deepcopy(retriever)):
        other.client = retriever.client  # a pickle has no key
        assert call(other.retrieve, "rotate")
    assert debug.get_event_pairs(CBEventType.RETRIEVE) == []
    assert retriever.callback_manager.handlers == [debug]


def test_copies_and_pickles_work_alike_and_hold_no_key(
    stand_in: KnowledgeSDKStandIn, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    retriever = over(stand_in, 2)
    asleep = pickle.dumps(retriever)
    assert stand_in.api_key.encode() not in asleep
    expected = [found.node_id for found in call(retriever.retrieve, "rotate")]
    assert [found.node_id for found in call(copy.deepcopy(retriever).retrieve, "rotate")] == expected
    with pytest.raises(MissingKey, match="KNOWLEDGESDK_API_KEY"):
        call(pickle.loads(asleep).retrieve, "rotate")
    monkeypatch.setenv("KNOWLEDGESDK_API_KEY", stand_in.api_key)
    assert [found.node_id for found in call(pickle.loads(asleep).retrieve, "rotate")] == expected
