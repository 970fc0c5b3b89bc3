"""`JinaReranker` against a local server that speaks Jina's API."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ksdk_rerank import (
    Cached,
    JinaReranker,
    RerankEndpoint,
    ScoreKind,
    VLLMReranker,
    errors,
    from_config,
    load_reranker,
    to_config,
)
from ksdk_rerank.testing.contract import SubclassContract

Call = Callable[..., Any]


@pytest.fixture
def jina(provider_named: Callable[[str], Any]) -> Any:
    return provider_named("jina")


class TestContract(SubclassContract):
    secrets = ("test-key",)

    @pytest.fixture
    def reranker(self, jina: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[JinaReranker]:
        monkeypatch.setenv("JINA_API_KEY", "test-key")  # for the copy out of a pickle
        with jina.reranker() as leaf:
            yield leaf


@pytest.mark.parametrize("model", ["jina-reranker-v3", "jinaai/jina-reranker-v3", "jina-reranker-v3-turbo"])
def test_a_listwise_model_is_never_split(call: Call, jina: Any, model: str) -> None:
    with jina.reranker(model=model, max_documents_per_request=2) as leaf:
        assert not leaf.pointwise
        call(leaf.rank, "q", ["0.1 a", "0.2 b", "0.3 c"])
    assert [len(request.json()["documents"]) for request in jina.server.requests] == [3]


@pytest.mark.parametrize("leaf", [RerankEndpoint, VLLMReranker])
def test_a_listwise_model_behind_another_server_is_treated_alike(call: Call, jina: Any, leaf: Any) -> None:
    with leaf(jina.server.url, model="jina_ai/jina-reranker-v3", max_documents_per_request=2) as listwise:
        cached = Cached(listwise)
        for texts in (["-0.1 a", "0.2 b", "0.3 c"], ["-0.1 a", "0.2 b"]):
            call(cached.rank, "q", texts)
    assert [len(request.json()["documents"]) for request in jina.server.requests] == [3, 2]


def test_a_negative_cosine_orders_by_itself_and_scores_nothing(call: Call, jina: Any) -> None:
    with jina.reranker(model="jina-reranker-v3") as leaf:
        ranking = call(leaf.rank, "q", ["-0.2 a", "-0.1 b", "0.3 c"])
    assert [(r.index, r.raw_score, r.score) for r in ranking] == [(2, 0.3, 0.3), (1, -0.1, 0.0), (0, -0.2, 0.0)]
    assert leaf.score_kind is ScoreKind.COSINE


@pytest.mark.parametrize("url", ["https://api.jina.ai", "https://API.Jina.AI./v1", "https://eu.api.jina.ai/v1/rerank"])
def test_the_hosted_api_wants_a_key(url: str) -> None:
    with pytest.raises(errors.MissingKey, match="JINA_API_KEY"):
        JinaReranker(base_url=url)


def test_a_server_of_ones_own_needs_no_key(call: Call, jina: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keyless = JinaReranker(base_url=jina.server.url)
    for leaf in (keyless, pickle.loads(pickle.dumps(keyless)), from_config(to_config(keyless))):
        assert len(call(leaf.rank, "q", ["a"])) == 1
    monkeypatch.setenv("JINA_API_KEY", "for-a-gateway")
    call(JinaReranker(base_url=jina.server.url).rank, "q", ["a"])
    sent = [request.headers.get("authorization") for request in jina.server.requests]
    assert sent == [None, None, None, "Bearer for-a-gateway"]


def test_the_key_may_come_from_either_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.MissingKey, match=r"set JINA_API_KEY \(JINAAI_API_KEY also accepted\)"):
        JinaReranker()
    monkeypatch.setenv("JINAAI_API_KEY", "k")
    assert load_reranker("jina:jina-reranker-m0").name == "jina:jina-reranker-m0"
    with pytest.raises(ValueError, match="write jina:MODEL"):
        load_reranker("jina:")


async def test_one_call_is_one_request_on_a_connection_that_is_kept(jina: Any) -> None:
    open_before = len(jina.server._open)
    async with jina.reranker() as leaf:
        for _ in range(5):
            await leaf.arank("q", ["0.1 a", "0.2 b"])
        assert len(jina.server.requests) == 5
        assert len(jina.server._open) - open_before <= 1
