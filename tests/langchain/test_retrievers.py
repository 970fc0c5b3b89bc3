"""`KnowledgeSDKRetriever` and `RerankedRetriever`, over a real server on 127.0.0.1."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from typing import Any

import pytest

pytest.importorskip("langchain_core")
pytest.importorskip("numpy")

import numpy as np
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.load import dumpd, dumps
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from pydantic import SecretStr, ValidationError

from ksdk_rerank import Deduplicated, KnowledgeSDKClient
from ksdk_rerank.errors import MissingKey, SearchUnavailable, ServerError, Unauthorized
from ksdk_rerank.testing import Fault, KnowledgeSDKStandIn, LocalServer, Reply
from langchain_ksdk_rerank import KnowledgeSDKRetriever, RerankCompressor, RerankedRetriever

SECRET = "knowledgesdk_test_do_not_show_me"


@pytest.fixture
def retriever(server: KnowledgeSDKStandIn) -> KnowledgeSDKRetriever:
    return KnowledgeSDKRetriever(api_key=server.api_key, base_url=server.base_url)


def sent(server: KnowledgeSDKStandIn) -> dict[str, Any]:
    body = server.requests[-1].json()
    assert isinstance(body, dict)
    return body


async def test_documents_carry_id_text_title_source_and_score(retriever: KnowledgeSDKRetriever) -> None:
    found = retriever.invoke("rotate an API key")
    assert found == await retriever.ainvoke("rotate an API key")
    best = found[0]
    assert best.id
    assert "the old key works for a day" in best.page_content
    assert best.metadata["title"] == "Rotate a key"
    assert best.metadata["source"].startswith("rotate-a-key.md")
    assert best.metadata["category"] == "general"
    assert type(best.metadata["retrieval_score"]) is float
    json.dumps([document.metadata for document in found])


def test_nothing_the_service_sent_is_lost_and_all_can_be_written_as_json() -> None:
    nested = {"id": "doc-7", "title": "R", "page": float("nan"), "cut": "gr\ud83d"}
    hit = {"id": 1, "content": "cut \ud83d", "title": "T", "score": 0.5, "metadata": nested}
    with LocalServer(lambda request: Reply.json({"hits": [hit]})) as server:
        (document,) = KnowledgeSDKRetriever(api_key="sk_ks_1", base_url=server.url).invoke("key")
    assert (document.id, document.page_content) == ("1", "cut \ufffd")
    assert document.metadata == {
        "title": "T",
        "retrieval_score": 0.5,
        "id": "doc-7",
        "metadata.title": "R",
        "page": None,
        "cut": "gr\ufffd",
    }
    json.dumps(document.model_dump(), ensure_ascii=False, allow_nan=False).encode()


async def test_what_the_service_did_not_send_is_not_in_the_metadata(
    server: KnowledgeSDKStandIn, retriever: KnowledgeSDKRetriever
) -> None:
    with server.failing(Fault(body={"hits": [{"id": 7, "content": "A key."}]})):
        expected = [Document("A key.", id="7", metadata={})]
        assert retriever.invoke("key") == await retriever.ainvoke("key") == expected


async def test_k_is_the_limit_and_a_call_can_override_it(
    server: KnowledgeSDKStandIn, retriever: KnowledgeSDKRetriever
) -> None:
    retriever.invoke("key")
    assert sent(server) == {"query": "key", "limit": 20}
    assert len(retriever.invoke("key", k=2)) == 2
    assert len(await retriever.ainvoke("key", k=3)) == 3
    assert sent(server)["limit"] == 3


async def test_id_of_the_key_and_extra_fields_are_sent(server: KnowledgeSDKStandIn) -> None:
    client = KnowledgeSDKClient(server.api_key, base_url=server.base_url)
    retriever = KnowledgeSDKRetriever(client=client, k=1, api_key_id="id_1", extra={"mode": "hybrid"})
    retriever.invoke("key")
    await retriever.ainvoke("key")
    for request in server.requests:
        assert request.json() == {"query": "key", "limit": 1, "apiKeyId": "id_1", "mode": "hybrid"}
    assert len(server.requests) == 2
    client.close()


def test_key_and_address_may_come_from_the_environment(
    server: KnowledgeSDKStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KNOWLEDGESDK_API_KEY", server.api_key)
    monkeypatch.setenv("KNOWLEDGESDK_BASE_URL", server.base_url)
    assert KnowledgeSDKRetriever(k=1).invoke("key")


@pytest.mark.parametrize("k", [0, "3"])
def test_a_wrong_k_is_refused_by_construction_and_by_assignment(retriever: KnowledgeSDKRetriever, k: Any) -> None:
    with pytest.raises(ValidationError, match="k\n"):
        KnowledgeSDKRetriever(api_key=SECRET, k=k)
    whole = RerankedRetriever(base_retriever=retriever, compressor=RerankCompressor("lexical"), k=2)
    for each in (retriever, whole):
        before = each.k
        with pytest.raises(ValidationError, match=r"k must be (an integer of )?at least 1"):
            each.k = k
        assert each.k == before


async def test_a_wrong_k_is_found_out_before_anything_is_asked(server: KnowledgeSDKStandIn) -> None:
    first = KnowledgeSDKRetriever(api_key=server.api_key, base_url=server.base_url)
    whole = RerankedRetriever(base_retriever=first, compressor=RerankCompressor("lexical"))
    for each in (first, whole):
        with pytest.raises(ValueError, match=r"^k must be an integer of at least 1.*, got '3'"):
            each.invoke("key", k="3")
        with pytest.raises(ValueError, match=r"^k must be at least 1, got -1"):
            await each.ainvoke("key", k=-1)
    assert server.requests == []


async def test_a_k_of_numpys_is_a_k(server: KnowledgeSDKStandIn) -> None:
    first = KnowledgeSDKRetriever(api_key=server.api_key, base_url=server.base_url, k=np.int64(3))  # type: ignore[arg-type]
    whole = RerankedRetriever(base_retriever=first, compressor=RerankCompressor("lexical"), k=np.int8(2))  # type: ignore[arg-type]
    assert (type(first.k), type(whole.k)) == (int, int)
    assert len(whole.invoke("key")) == 2
    assert sent(server)["limit"] == 3
    assert len(await whole.ainvoke("key", k=np.int64(1))) == len(first.invoke("key", k=np.int64(1))) == 1


async def test_scores_that_the_knowledge_base_stores_are_not_those_of_this_search(
    server: KnowledgeSDKStandIn, retriever: KnowledgeSDKRetriever
) -> None:
    stale = {"relevance_score": 0.9, "retrieval_score": 3.5, "reranked_by": "lexical", "page": 4}
    hits = [{"id": "a", "content": "A key.", "score": 12.5, "metadata": stale}]
    hits += [{"id": "b", "content": "A key ring.", "metadata": stale}]
    whole = RerankedRetriever(base_retriever=retriever, compressor=RerankCompressor("lexical"))
    with server.failing(Fault(body={"hits": hits})):
        for found in (whole.invoke("key"), await whole.ainvoke("key")):
            scores = {page.id: page.metadata.get("retrieval_score") for page in found}
            assert scores == {"a": 12.5, "b": None}
            assert {page.metadata["page"] for page in found} == {4}


def test_a_client_and_what_it_is_made_from_exclude_each_other() -> None:
    client = KnowledgeSDKClient(SECRET)
    for beside in ({"api_key": SECRET}, {"base_url": "http://127.0.0.1:1"}, {"timeout": 5.0}):
        with pytest.raises(ValueError, match="pass either the client or these"):
            KnowledgeSDKRetriever(client=client, **beside)


def test_the_default_timeout_is_the_clients() -> None:
    assert KnowledgeSDKRetriever(api_key=SECRET).timeout == KnowledgeSDKClient(SECRET).timeout
    assert KnowledgeSDKRetriever(client=KnowledgeSDKClient(SECRET, timeout=7.0)).timeout == 7.0


@pytest.mark.parametrize("key", [SECRET, SecretStr(SECRET)])
def test_the_key_is_in_no_repr_dump_pickle_or_error(key: str | SecretStr) -> None:
    retriever = KnowledgeSDKRetriever(api_key=key, tags=["first"])
    whole = RerankedRetriever(base_retriever=retriever, compressor=RerankCompressor("lexical"))
    for shown in (retriever, whole):
        for text in (repr(shown), str(shown), json.dumps(dumpd(shown)), dumps(shown), str(shown.model_dump())):
            assert SECRET not in text
        assert SECRET.encode() not in pickle.dumps(shown)
    with pytest.raises(ValidationError) as caught:
        KnowledgeSDKRetriever(api_key=key, k=0)
    assert SECRET not in str(caught.value) + repr(caught.value.errors())
    with pytest.raises(ValueError, match="copy the key again") as refused:
        KnowledgeSDKRetriever(api_key=f"{SECRET} ")
    assert SECRET not in str(refused.value)


def test_a_pickle_reads_the_key_of_the_place_where_it_wakes_up(
    server: KnowledgeSDKStandIn, retriever: KnowledgeSDKRetriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep = pickle.dumps(retriever)
    with pytest.raises(MissingKey, match="KNOWLEDGESDK_API_KEY"):
        pickle.loads(asleep).invoke("key")
    monkeypatch.setenv("KNOWLEDGESDK_API_KEY", server.api_key)
    assert pickle.loads(asleep).invoke("key") == retriever.invoke("key")


def test_a_deep_copy_works_like_the_original(retriever: KnowledgeSDKRetriever) -> None:
    assert copy.deepcopy(retriever).invoke("key") == retriever.invoke("key")


def test_k_can_be_configured_from_outside(retriever: KnowledgeSDKRetriever) -> None:
    chain = retriever.configurable_fields(k=ConfigurableField(id="candidates"))
    assert len(chain.invoke("key", {"configurable": {"candidates": 2}})) == 2


async def test_failures_of_the_service_are_raised(
    server: KnowledgeSDKStandIn, retriever: KnowledgeSDKRetriever
) -> None:
    for status, error in ((401, Unauthorized), (404, SearchUnavailable)):
        with server.failing(Fault(status=status)):
            with pytest.raises(error):
                retriever.invoke("key")
            with pytest.raises(error):
                await retriever.ainvoke("key")
    once = KnowledgeSDKClient(server.api_key, base_url=server.base_url, retries=0)
    with server.failing(Fault(status=503)), pytest.raises(ServerError):
        KnowledgeSDKRetriever(client=once).invoke("key")
    once.close()


async def test_a_search_is_a_retriever_run(retriever: KnowledgeSDKRetriever) -> None:
    recorder = RunCollectorCallbackHandler()
    retriever.invoke("key", {"callbacks": [recorder]}, k=1)
    await retriever.ainvoke("key", {"callbacks": [recorder]}, k=1)
    for run in recorder.traced_runs:
        assert (run.run_type, run.name, run.inputs) == ("retriever", "KnowledgeSDKRetriever", {"query": "key"})
        said = (run.extra or {})["metadata"]
        assert (said["ls_retriever_name"], said["ls_vector_store_provider"]) == ("knowledgesdk", "KnowledgeSDK")
    assert len(recorder.traced_runs) == 2


async def test_both_retrievers_say_what_they_are_in_a_trace(retriever: KnowledgeSDKRetriever) -> None:
    recorder = RunCollectorCallbackHandler()
    whole = RerankedRetriever(base_retriever=retriever, compressor=RerankCompressor("lexical"))
    whole.invoke("key", {"callbacks": [recorder]})
    await whole.ainvoke("key", {"callbacks": [recorder]})
    for run in recorder.traced_runs:
        names = [(each.extra or {})["metadata"]["ls_retriever_name"] for each in (run, run.child_runs[0])]
        assert names == ["reranked", "knowledgesdk"]


async def test_many_searches_at_once(retriever: KnowledgeSDKRetriever) -> None:
    queries = ["rotate", "revoke", "seat", "chart", "invoices"] * 6
    alone = {query: retriever.invoke(query) for query in set(queries)}
    together = await asyncio.gather(*(retriever.ainvoke(query) for query in queries))
    assert together == [alone[query] for query in queries]


def test_it_works_in_one_event_loop_after_another(retriever: KnowledgeSDKRetriever) -> None:
    first, second = (asyncio.run(retriever.ainvoke("key")) for _ in range(2))
    assert first == second


async def test_langchains_compression_retriever_takes_both_stages(retriever: KnowledgeSDKRetriever) -> None:
    retrievers = pytest.importorskip("langchain_classic.retrievers")
    whole = retrievers.ContextualCompressionRetriever(
        base_retriever=retriever, base_compressor=RerankCompressor("lexical", top_n=2)
    )
    found = whole.invoke("revoke a leaked key")
    assert found == await whole.ainvoke("revoke a leaked key")
    check_two_stages(found)
    assert len(whole.invoke("key", k=1)) == 1


async def test_the_reranked_retriever_takes_both_stages(retriever: KnowledgeSDKRetriever) -> None:
    whole = RerankedRetriever(base_retriever=retriever, compressor=RerankCompressor("lexical", top_n=2))
    found = whole.invoke("revoke a leaked key")
    assert found == await whole.ainvoke("revoke a leaked key")
    check_two_stages(found)


def check_two_stages(found: list[Document]) -> None:
    """Two documents, the right one first, with the score of either stage where it belongs."""
    assert len(found) == 2
    assert found[0].metadata["title"] == "Revoke a key"
    assert all(0 <= document.metadata["relevance_score"] <= 1 for document in found)
    assert all(document.metadata["retrieval_score"] is not None for document in found)
    assert {document.metadata["reranked_by"] for document in found} == {"lexical"}


async def test_k_decides_how_many_come_back_and_not_how_many_are_candidates(
    server: KnowledgeSDKStandIn, retriever: KnowledgeSDKRetriever
) -> None:
    compressor = RerankCompressor("lexical", top_n=2)
    whole = RerankedRetriever(base_retriever=retriever, compressor=compressor, k=3)
    assert len(whole.invoke("key")) == 3
    assert len(whole.invoke("key", k=1)) == len(await whole.ainvoke("key", k=1)) == 1
    assert sent(server)["limit"] == 20
    assert len(RerankedRetriever(base_retriever=retriever, compressor=compressor).invoke("key")) == 2
    assert compressor.top_n == 2
    with pytest.raises(ValidationError, match="k\n"):
        RerankedRetriever(base_retriever=retriever, compressor=compressor, k=0)
    with pytest.raises(ValueError, match="k must be at least 1"):
        whole.invoke("key", k=0)


async def test_several_queries_want_the_reranker_outside(
    server: KnowledgeSDKStandIn, retriever: KnowledgeSDKRetriever
) -> None:
    multi_query = pytest.importorskip("langchain_classic.retrievers.multi_query").MultiQueryRetriever
    model = FakeListChatModel(responses=["rotate a key\nrevoke a leaked key"])

    def retrieve(query: str) -> list[Document]:
        return [page.model_copy(update={"metadata": {}}) for page in retriever.invoke(query)]

    class Unscored(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
            return retrieve(query)

    once = RerankCompressor("lexical", top_n=None)
    inside = multi_query.from_llm(RerankedRetriever(base_retriever=Unscored(), compressor=once), model)
    outside = RerankedRetriever(base_retriever=multi_query.from_llm(Unscored(), model), compressor=once)
    # KnowledgeSDK's own scores make copies unequal before any reranking
    single = RerankCompressor(Deduplicated("lexical"), top_n=None)
    scored = RerankedRetriever(base_retriever=multi_query.from_llm(retriever, model), compressor=single)
    for found in (inside.invoke("key"), await inside.ainvoke("key")):
        assert len(found) > len({page.id for page in found})
    for whole in (outside, scored):
        for found in (whole.invoke("key"), await whole.ainvoke("key")):
            assert len(found) == len({page.id for page in found}) == 4


def test_a_setting_that_belongs_elsewhere_is_refused() -> None:
    base: RunnableLambda[str, list[Document]] = RunnableLambda(lambda query: [])
    with pytest.raises(ValidationError, match="top_n"):
        RerankedRetriever(base_retriever=base, compressor=RerankCompressor("lexical"), top_n=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="top_k"):
        KnowledgeSDKRetriever(api_key=SECRET, top_k=3)  # type: ignore[call-arg]


def test_no_error_about_a_wrong_argument_shows_a_key(retriever: KnowledgeSDKRetriever) -> None:
    whole = RerankedRetriever(base_retriever=retriever, compressor=RerankCompressor("lexical"))
    for attempt in (
        lambda: RerankedRetriever(base_retriever=retriever, compressor=whole.compressor, api_key=SECRET),  # type: ignore[call-arg]
        lambda: RerankedRetriever(base_retriever=retriever, api_key=SECRET),  # type: ignore[call-arg]
        lambda: setattr(whole, "api_key", SECRET),
        lambda: setattr(whole.compressor, "api_key", SECRET),
        lambda: setattr(retriever, "api_key", SECRET),
        lambda: KnowledgeSDKRetriever(client=SECRET),  # type: ignore[arg-type]
        lambda: KnowledgeSDKRetriever(api_key=[SECRET]),  # type: ignore[arg-type]
    ):
        with pytest.raises((ValueError, TypeError), match=r"api_key|client") as refused:
            attempt()
        assert SECRET not in str(refused.value) + repr(refused.value)


async def test_other_arguments_go_to_the_base_retriever() -> None:
    class Filtered(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any, language: str = "en") -> list[Document]:
            return [Document("A key.", id=language)]

        async def _aget_relevant_documents(
            self, query: str, *, run_manager: Any, language: str = "en"
        ) -> list[Document]:
            return [Document("A key.", id=language)]

    whole = RerankedRetriever(base_retriever=Filtered(), compressor=RerankCompressor("lexical"))
    assert [document.id for document in whole.invoke("key", language="fr")] == ["fr"]
    assert [document.id for document in await whole.ainvoke("key", language="fr")] == ["fr"]


async def test_nothing_found_stays_nothing() -> None:
    whole = RerankedRetriever(base_retriever=RunnableLambda(lambda query: []), compressor=RerankCompressor("lexical"))
    assert whole.invoke("key") == await whole.ainvoke("key") == []
