"""Every service, as documented: what it is sent, and what is made of its reply. See `replies` and `conftest.py`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from ksdk_rerank import NVIDIAReranker, RerankEndpoint, Reranker, ScoreKind
from ksdk_rerank.testing import Fault
from ksdk_rerank.testing.contract import SubclassContract

QUERY = "How often do signing keys rotate?"
DOCUMENTS = [
    "Piano keys are black and white.",
    "Signing keys rotate every ninety days.",
    "Keys are rotated by hand after a leak.",
]
RANKING = [[1, 0.9412], [2, 0.3175], [0, 0.0023]]


def test_the_request_and_the_reply_are_the_documented_ones(service: Any) -> None:
    wire = service.wire
    path = wire["path"] if wire["reranker"]["class"] == "RerankEndpoint" else ""  # the others append their own
    model = {"model": wire["request"]["model"]} if "model" in wire["request"] else {}
    with (
        service.reranker(service.server.url + path, **model) as leaf,
        service.server.failing(Fault(body=wire["reply"])),
    ):
        ranking = leaf.rank(QUERY, DOCUMENTS)
    (request,) = service.server.requests
    assert (request.method, request.path, request.json()) == ("POST", wire["path"], wire["request"])
    needs_key = hasattr(leaf, "base_url") or "api_key" in wire["reranker"].get("parameters", {})
    assert request.headers.get("authorization") == ("Bearer test-key" if needs_key else None)
    assert [[hit.index, hit.raw_score] for hit in ranking] == wire.get("ranking", RANKING)
    for hit in ranking:
        assert hit.raw_score is not None
        is_logit = leaf.score_kind is ScoreKind.LOGIT
        assert hit.score == pytest.approx(1 / (1 + math.exp(-hit.raw_score)) if is_logit else hit.raw_score)
    assert ranking.usage == wire["usage"]
    assert "read 2026-" in wire["_source"]


class TestContract(SubclassContract):
    secrets = ("test-key",)

    @pytest.fixture
    def reranker(self, other: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reranker]:
        more = {"api_key_variable": "SOME_API_KEY"} if other.kind is RerankEndpoint else {}
        for variable in (*more.values(), *getattr(other.kind, "_key_variables", ())):
            monkeypatch.setenv(variable, "test-key")  # for the copy out of a pickle
        with other.reranker(api_key="test-key", **more) as leaf:
            yield leaf


def test_each_hosted_model_of_nvidia_has_its_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_API_KEY", "test-key")
    urls = {
        "nvidia/llama-nemotron-rerank-1b-v2": "nvidia/llama-nemotron-rerank-1b-v2",
        "nvidia/llama-3.2-nv-rerankqa-1b-v2": "nvidia/llama-3_2-nv-rerankqa-1b-v2",
        "a b/c#d": "a%20b/c%23d",
    }
    for model, path in urls.items():
        leaf = NVIDIAReranker(model)
        assert leaf._url == leaf.base_url == f"https://ai.api.nvidia.com/v1/retrieval/{path}/reranking"


def test_a_container_of_nvidia_s_needs_no_key_and_nothing_is_appended_twice(provider_named: Any) -> None:
    nim = provider_named("nvidia")
    paths = {"": "/v1/ranking", "/v1/": "/v1/ranking", "/v1/ranking": "/v1/ranking", "/nim": "/nim/v1/ranking"}
    for path in paths:
        with NVIDIAReranker(base_url=nim.server.url + path) as leaf:
            assert leaf.rank("q", ["-1.5 a", "0 b"]).indices == (1, 0)
    assert [request.path for request in nim.server.requests] == list(paths.values())
    assert "authorization" not in nim.server.requests[0].headers


def test_a_call_is_split_at_voyage_s_limit_of_tokens(provider_named: Any) -> None:
    voyage = provider_named("voyage")
    documents = [f"0.{index} " + "a" * 149_000 for index in range(1, 10)]
    with voyage.reranker() as leaf:
        ranking = leaf.rank("q" * 900, documents)
    sizes = sorted(len(request.json()["documents"]) for request in voyage.server.requests)
    assert sizes == [1, 4, 4]  # of 600,000 tokens, counting the query with each document
    assert ranking.indices == tuple(range(8, -1, -1))
    assert ranking.usage == {"total_tokens": 183.0}  # 61 a request
