"""What the rerankers over HTTP make of a URL, and that errors say it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from ksdk_rerank import errors, load_reranker
from ksdk_rerank.testing import Fault

Call = Callable[..., Any]


def test_a_whole_address_is_asked_as_it_is(provider: Any) -> None:
    for path in ("/api/v1/services/rerank/text-rerank", "/v1/score?api-version=2024-05-01&a=b"):
        with provider.reranker(f"{provider.server.url}{path}") as leaf:
            leaf.rank("q", ["a"])
        assert provider.server.requests[-1].path == path


def test_a_name_may_hold_a_query_and_a_model(provider_named: Callable[[str], Any]) -> None:
    vllm = provider_named("vllm")
    load_reranker(f"vllm:{vllm.server.url}/v1?api-version=1#BAAI/bge-reranker-base").rank("q", ["a"])
    (request,) = vllm.server.requests
    assert (request.path, request.json()["model"]) == ("/v1/rerank?api-version=1", "BAAI/bge-reranker-base")


WRONG = {
    "400": (Fault(status=400), errors.BadRequest),
    "404": (Fault(status=404), errors.NotFound),
    "405": (Fault(status=405), errors.NotFound),
    "410": (Fault(status=410), errors.NotFound),
    "422": (Fault(status=422), errors.BadRequest),
    "308": (Fault(status=308, headers={"location": "/elsewhere"}), errors.Redirected),
    "a web page": (Fault(body=b"<html>"), errors.BadReply),
    "embeddings": (Fault(body={"object": "list", "data": [{"embedding": [0.1] * 20_000}]}), errors.BadReply),
    "a broken connection": (Fault(reset=True), errors.ConnectionFailed),
}


@pytest.mark.parametrize(("fault", "expected"), WRONG.values(), ids=WRONG)
def test_an_error_says_which_address_was_asked_without_its_query_s_values(
    route: Any, fault: Fault, expected: type[Exception]
) -> None:
    address = f"{route.server.url}/v1/embeddings"
    with (
        route.reranker(f"{address}?tenant=hunter2", timeout=5.0, retries=0) as leaf,
        route.server.failing(fault),
        pytest.raises(expected) as raised,
    ):
        leaf.rank("q", ["a"])
    assert f"(called: POST {address}?tenant=...)" in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert len(str(raised.value)) < 700


def test_a_secret_that_a_client_of_the_user_s_adds_to_the_address_is_not_shown(route: Any) -> None:
    def client() -> httpx.AsyncClient:
        return httpx.AsyncClient(params={"code": "s3cret"})

    with (
        route.reranker(client_factory=client, retries=0) as leaf,
        route.server.failing(Fault(status=404)),
        pytest.raises(errors.NotFound, match=r"rerank\?code=\.\.\.\)") as raised,
    ):
        leaf.rank("q", ["a"])
    assert route.server.requests[0].path.endswith("?code=s3cret")
    assert "s3cret" not in str(raised.value)
