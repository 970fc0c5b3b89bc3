"""`CohereReranker` through the real SDK against a local server that speaks Cohere's API."""

from __future__ import annotations

import asyncio
import copy
import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ksdk_rerank import CohereReranker, errors, from_config, load_reranker, to_config
from ksdk_rerank.testing import Fault
from ksdk_rerank.testing.contract import SubclassContract

Call = Callable[..., Any]


@pytest.fixture
def cohere(provider_named: Callable[[str], Any]) -> Any:
    return provider_named("cohere")


class TestContract(SubclassContract):
    secrets = ("test-key",)

    @pytest.fixture
    def reranker(self, cohere: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[CohereReranker]:
        monkeypatch.setenv("CO_API_KEY", "test-key")  # for the copy out of a pickle
        with cohere.reranker() as leaf:
            yield leaf


def test_what_is_not_asked_for_is_not_sent_as_null(call: Call, cohere: Any) -> None:
    with cohere.reranker(max_tokens_per_document=512) as leaf:
        call(leaf.rank, "q", ["0.5 a"], top_n=1)
    (request,) = cohere.server.requests
    assert request.headers["x-client-name"] == "ksdk-rerank"
    assert request.json() == {
        "model": "rerank-v3.5",
        "query": "q",
        "documents": ["0.5 a"],
        "max_tokens_per_doc": 512,
    }


@pytest.mark.parametrize("retries", [0, 2])
def test_the_sdk_s_own_retries_are_off(call: Call, cohere: Any, retries: int) -> None:
    failing = cohere.server.failing(Fault(status=503, headers={"retry-after": "0"}))
    with cohere.reranker(retries=retries) as leaf, failing, pytest.raises(errors.ServerError):
        call(leaf.rank, "q", ["a"])
    assert len(cohere.server.requests) == retries + 1


def test_a_thousand_documents_go_in_one_request_and_more_in_two(call: Call, cohere: Any) -> None:
    documents = [f"{index / 2000} text" for index in range(1200)]
    with cohere.reranker() as leaf:
        ranking = call(leaf.rank, "q", documents)
    assert sorted(len(request.json()["documents"]) for request in cohere.server.requests) == [200, 1000]
    assert ranking.indices == tuple(range(1199, -1, -1))
    assert ranking.usage == {"search_units": 2.0}


def test_the_sdk_asks_the_address_that_was_given(call: Call, cohere: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CO_API_URL", "http://127.0.0.1:9")  # an address that is given wins
    paths = {
        "": "/v2/rerank",
        "/v1": "/v2/rerank",
        "/gateway/v2": "/gateway/v2/rerank",
        "/v1/account/gateway/cohere": "/v1/account/gateway/cohere/v2/rerank",
        "/providers/cohere/v2/rerank?api-version=2024-05-01": "/providers/cohere/v2/rerank?api-version=2024-05-01",
    }
    for path in paths:
        with cohere.reranker(cohere.server.url + path) as leaf:
            call(leaf.rank, "q", ["a"])
    assert [request.path for request in cohere.server.requests] == list(paths.values())


def test_the_address_and_the_key_may_come_from_the_sdk_s_variables(
    cohere: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CO_API_URL", cohere.server.url)
    monkeypatch.setenv("COHERE_API_KEY", "second")
    load_reranker("cohere:rerank-v3.5").rank("q", ["a"])
    monkeypatch.setenv("CO_API_KEY", "first")
    load_reranker("cohere:rerank-english-v3.0").rank("q", ["a"])
    assert [request.headers["authorization"] for request in cohere.server.requests] == ["Bearer second", "Bearer first"]
    assert [request.json()["model"] for request in cohere.server.requests] == ["rerank-v3.5", "rerank-english-v3.0"]


@pytest.mark.parametrize("url", ["https://api.cohere.ai/v1", "https://API.cohere.com:443/v2/rerank", None])
def test_the_hosted_api_wants_a_key(url: str | None) -> None:
    with pytest.raises(errors.MissingKey, match=r"set CO_API_KEY \(COHERE_API_KEY also accepted\)"):
        CohereReranker(base_url=url)


def test_a_server_of_ones_own_needs_no_key(call: Call, cohere: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given = CohereReranker(base_url=cohere.server.url)
    monkeypatch.setenv("CO_API_URL", cohere.server.url)
    for leaf in (given, CohereReranker(), pickle.loads(pickle.dumps(given)), from_config(to_config(given))):
        assert len(call(leaf.rank, "q", ["a"])) == 1
    assert not any("authorization" in request.headers for request in cohere.server.requests)


def test_a_malformed_address_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CO_API_URL", "localhost:8080")
    with pytest.raises(ValueError, match=r"^the environment variable CO_API_URL must be like https://api\.cohere\.com"):
        CohereReranker(api_key="test-key")


def test_without_the_sdk_the_message_is_the_line_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cohere", None)
    with pytest.raises(errors.MissingExtra, match=r'pip install "ksdk-rerank\[cohere\]"'):
        CohereReranker(api_key="test-key")


def test_a_copy_from_a_pickle_takes_the_key_of_where_it_wakes_up(cohere: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    leaf = cohere.reranker(model="rerank-multilingual-v3.0", max_tokens_per_document=9)
    copies = [copy.deepcopy(leaf), pickle.loads(pickle.dumps(leaf))]
    monkeypatch.setenv("CO_API_KEY", "of-the-other-process")
    for one in copies:
        assert one.parameters() == leaf.parameters()
        one.rank("q", ["a"])
    sent = [request.headers["authorization"] for request in cohere.server.requests]
    assert sent == ["Bearer test-key", "Bearer of-the-other-process"]


def test_it_works_in_one_event_loop_after_another_and_after_close(cohere: Any) -> None:
    leaf = cohere.reranker()
    for _ in range(2):
        asyncio.run(leaf.arank("q", ["a"]))
        leaf.rank("q", ["a"])
        leaf.close()
    assert len(cohere.server.requests) == 4


SPANS = [{"start": 5, "end": 9, "score": 0.9}, {"start": 0, "end": 3, "score": 0.4}]


def replying(cohere: Any, spans: Any) -> Any:
    """A fault that gives the second of two documents these spans, and the first none."""
    results = [{"index": 1, "relevance_score": 0.9, "relevant_spans": spans}, {"index": 0, "relevance_score": 0.1}]
    return cohere.server.failing(Fault(body={**cohere.wire["reply"], "results": results}))


def test_relevant_spans_are_asked_for_and_returned_best_first(call: Call, cohere: Any) -> None:
    leaf = cohere.reranker(model="rerank-v5.0-pro", relevant_spans=True, span_threshold=0.2, max_spans=3)
    with leaf, replying(cohere, SPANS):
        ranking = call(leaf.rank, "q", ["a", "One. Two."])
    assert cohere.server.requests[0].json()["relevant_spans"] == {"mode": "enabled", "threshold": 0.2, "max_spans": 3}
    assert [(ranked.index, ranked.spans) for ranked in ranking] == [(1, ((5, 9), (0, 3))), (0, ())]
    assert from_config(to_config(leaf)).parameters() == leaf.parameters()


def test_spans_are_in_the_document_even_if_it_was_sent_without_the_white_space_before_it(
    call: Call, cohere: Any
) -> None:
    with cohere.reranker(relevant_spans=True, max_chars_per_document=10) as leaf, replying(cohere, SPANS):
        best = call(leaf.rank, "q", ["a", " \n  One. Two. Three."])[0]
    assert cohere.server.requests[0].json()["documents"] == ["a", "One. Two. "]
    assert [best.document[slice(*span)] for span in best.spans] == ["Two.", "One"]


def test_spans_that_nobody_asked_for_are_ignored(call: Call, cohere: Any) -> None:
    with cohere.reranker() as leaf, replying(cohere, SPANS):
        assert call(leaf.rank, "q", ["a", "One. Two."])[0].spans == ()
    assert "relevant_spans" not in cohere.server.requests[0].json()


@pytest.mark.parametrize(
    "spans", [[{"start": 5, "end": 99}], [{"start": 3, "end": 3}], [{"start": True, "end": 3}], [{"end": 3}], [7], 7]
)
def test_spans_outside_their_document_or_of_another_shape_are_a_bad_reply(call: Call, cohere: Any, spans: Any) -> None:
    with cohere.reranker(relevant_spans=True) as leaf, replying(cohere, spans), pytest.raises(errors.BadReply):
        call(leaf.rank, "q", ["a", "One. Two."])


def test_options_of_spans_need_spans() -> None:
    with pytest.raises(ValueError, match="need relevant_spans=True"):
        CohereReranker(api_key="test-key", max_spans=3)
    with pytest.raises(ValueError, match="span_threshold must be between 0 and 1"):
        CohereReranker(api_key="test-key", relevant_spans=True, span_threshold=2)
