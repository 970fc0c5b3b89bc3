"""`TEIReranker`, `VLLMReranker` and `InfinityReranker` against local servers that speak their APIs."""

from __future__ import annotations

import asyncio
import math
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ksdk_rerank import InfinityReranker, ScoreKind, TEIReranker, VLLMReranker, errors, load_reranker
from ksdk_rerank._fingerprint import identity
from ksdk_rerank.base import Reranker
from ksdk_rerank.testing import Fault, LocalServer, Reply, Request
from ksdk_rerank.testing.contract import SubclassContract

Call = Callable[..., Any]
SERVERS = ["infinity", "tei", "vllm"]
MODEL = "BAAI/bge-reranker-base"
VARIABLES = {"infinity": "INFINITY_API_KEY", "tei": "API_KEY", "vllm": "VLLM_API_KEY"}


@pytest.fixture
def tei(provider_named: Callable[[str], Any]) -> Any:
    """One of them, for what their base class does."""
    return provider_named("tei")


@pytest.fixture(params=SERVERS)
def own(request: pytest.FixtureRequest, provider_named: Callable[[str], Any]) -> Any:
    """Each of the three in turn."""
    return provider_named(request.param)


class TestContract(SubclassContract):
    secrets = ("test-key",)

    @pytest.fixture
    def reranker(self, tei: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reranker]:
        monkeypatch.setenv(VARIABLES["tei"], "test-key")  # for the copy out of a pickle
        with tei.reranker(api_key="test-key") as leaf:
            yield leaf


def test_without_a_model_no_model_is_sent_and_the_address_is_the_name(own: Any) -> None:
    with own.reranker() as leaf:
        ranking = leaf.rank("q", ["0.5 a"])
    assert "model" not in own.server.requests[0].json()
    assert ranking.reranked_by == f"{own.name}:{own.server.url.removeprefix('http://')}"


# (what is given, what TEI, vLLM and Infinity are asked for)
ADDRESSES = [
    ("", "/rerank", "/v1/rerank", "/rerank"),
    ("/", "/rerank", "/v1/rerank", "/rerank"),
    ("/v1", "/rerank", "/v1/rerank", "/v1/rerank"),
    ("/v1/", "/rerank", "/v1/rerank", "/v1/rerank"),
    ("/v2", "/rerank", "/v2/rerank", "/v2/rerank"),
    ("/rerank", "/rerank", "/rerank", "/rerank"),
    ("/v1/rerank", "/v1/rerank", "/v1/rerank", "/v1/rerank"),
    ("/v2/rerank/", "/v2/rerank", "/v2/rerank", "/v2/rerank"),
    ("/gateway", "/gateway/rerank", "/gateway/v1/rerank", "/gateway/rerank"),
    ("/gateway/v1", "/gateway/rerank", "/gateway/v1/rerank", "/gateway/v1/rerank"),
    ("/gateway/rerank", "/gateway/rerank", "/gateway/rerank", "/gateway/rerank"),
]


def test_nothing_is_appended_twice(own: Any) -> None:
    for path, tei, vllm, infinity in ADDRESSES:
        with own.reranker(own.server.url + path) as leaf:
            leaf.rank("q", ["a"])
        asked = {"tei": tei, "vllm": vllm, "infinity": infinity}[own.name]
        assert own.server.requests[-1].path == asked, path


@pytest.mark.parametrize(("name", "limit"), [("infinity", 2048), ("tei", 32), ("vllm", None)])
def test_a_server_s_limit_of_documents_is_kept_to(
    provider_named: Callable[[str], Any], name: str, limit: int | None
) -> None:
    own = provider_named(name)
    count = 70 if name == "tei" else 2100
    documents = [f"{(index * 37 % count) / count} text {index}" for index in range(count)]
    with own.reranker() as leaf:
        assert leaf.max_documents_per_request == limit
        ranking = leaf.rank("q", documents)
    sizes = sorted(
        len(next(v for v in request.json().values() if isinstance(v, list))) for request in own.server.requests
    )
    assert sizes == {"infinity": [52, 2048], "tei": [6, 32, 32], "vllm": [2100]}[name]
    assert [ranked.raw_score for ranked in ranking] == sorted(
        (float(text.split()[0]) for text in documents), reverse=True
    )
    assert all(documents[ranked.index] == ranked.document for ranked in ranking)


def test_the_parts_of_a_call_are_sent_side_by_side_within_one_deadline(call: Call, unshared: Any) -> None:
    tei = unshared("tei")
    documents = [f"{index / 100} text" for index in range(32)]
    all_eight = threading.Barrier(8, timeout=20)  # one after another, they would break it

    def answer(request: Request) -> Reply:
        all_eight.wait()
        return Reply.json([{"index": index, "score": 0.5} for index in range(2)])

    with LocalServer(answer) as server, TEIReranker(server.url, max_documents_per_request=2, timeout=30.0) as leaf:
        assert len(call(leaf.rank, "q", documents)) == 32
    with tei.reranker(max_documents_per_request=1, timeout=0.3) as leaf, tei.server.failing(Fault(delay=0.2)):
        with pytest.raises(errors.TimedOut):
            call(leaf.rank, "q", documents)
        assert len(tei.server.requests) < 32


def test_one_part_that_fails_fails_the_call(call: Call, unshared: Any) -> None:
    tei = unshared("tei")
    faults = [None, *[Fault(status=422)] * 40]  # more than one: parts arrive in any order
    with tei.reranker(max_documents_per_request=1, timeout=5.0) as leaf, tei.server.failing(faults):
        with pytest.raises(errors.BadRequest):
            call(leaf.rank, "q", [f"0.{index} a" for index in range(1, 40)])
        assert len(tei.server.requests) < 39  # the others are not sent any more


def test_raw_scores_are_logits_that_we_map_ourselves(own: Any) -> None:
    with own.reranker(raw_scores=True) as leaf:
        assert leaf.score_kind is ScoreKind.LOGIT
        ranking = leaf.rank("q", ["-3.5 a", "20.25 b", "20.5 c"])
    body = own.server.requests[0].json()
    assert body["use_activation"] is False if own.name == "vllm" else body["raw_scores"] is True
    assert [(r.index, r.raw_score) for r in ranking] == [(2, 20.5), (1, 20.25), (0, -3.5)]
    assert [r.score for r in ranking] == pytest.approx([1 / (1 + math.exp(-x)) for x in (20.5, 20.25, -3.5)], abs=1e-12)


@pytest.mark.parametrize("leaf_class", [TEIReranker, VLLMReranker])
def test_documents_are_cut_by_the_server_unless_told_otherwise(leaf_class: Any, provider_named: Any) -> None:
    own = provider_named({TEIReranker: "tei", VLLMReranker: "vllm"}[leaf_class])
    with leaf_class(own.server.url, truncate=False) as leaf:
        leaf.rank("q", ["a"])
    body = own.server.requests[0].json()
    assert body.get("truncate", "truncate_prompt_tokens" in body) is False


def test_an_instruction_is_sent_to_vllm_and_identifies_the_reranker(provider_named: Any) -> None:
    own = provider_named("vllm")
    with own.reranker(instruction="Prefer news") as news, own.reranker() as plain:
        for leaf in (news, plain):
            leaf.rank("q", ["a"])
        assert identity(news, "") != identity(plain, "")
    assert [request.json().get("instruction") for request in own.server.requests] == ["Prefer news", None]
    with pytest.raises(ValueError, match="instruction is blank"):
        own.reranker(instruction=" ")


@pytest.mark.parametrize("name", ["cohere", "infinity", "jina", "tei"])
def test_no_instruction_is_offered_for_a_service_that_would_ignore_it(provider_named: Any, name: str) -> None:
    with pytest.raises(TypeError, match="instruction"):
        provider_named(name).reranker(instruction="Prefer news")


def test_errors_say_which_server_it_was(tei: Any) -> None:
    with tei.reranker() as leaf, tei.server.failing(Fault(status=404)), pytest.raises(errors.NotFound) as raised:
        leaf.rank("q", ["a"])
    assert tei.server.url.removeprefix("http://") in str(raised.value)


def test_a_key_is_a_bearer_token_and_a_pickle_leaves_it_behind(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    leaf = own.reranker(api_key="test-key", model=MODEL)
    leaf.rank("q", ["a"])
    copied = pickle.loads(pickle.dumps(leaf))
    variable = VARIABLES[own.name]
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(errors.MissingKey, match=f"pass api_key=... or set {variable}"):
        copied.rank("q", ["a"])
    monkeypatch.setenv(variable, "from-there")
    copied.rank("q", ["a"])
    assert [r.headers["authorization"] for r in own.server.requests] == ["Bearer test-key", "Bearer from-there"]


def test_they_go_by_names(own: Any) -> None:
    plain, named = load_reranker(f"{own.name}:{own.server.url}"), load_reranker(f"{own.name}:{own.server.url}#{MODEL}")
    assert (
        type(plain) is type(named) is {"infinity": InfinityReranker, "tei": TEIReranker, "vllm": VLLMReranker}[own.name]
    )
    assert named.name == f"{own.name}:{MODEL}"
    assert [len(reranker.rank("q", ["a", "b"])) for reranker in (plain, named)] == [2, 2]
    assert [request.json().get("model") for request in own.server.requests] == [None, MODEL]


async def test_two_hundred_calls_at_once_do_not_wait_for_each_other(tei: Any) -> None:
    async with tei.reranker(timeout=30.0) as leaf:
        with tei.server.failing(Fault(delay=0.2)):  # one after another they take more than the timeout
            rankings = await asyncio.gather(*(leaf.arank("q", ["0.1 a", "0.2 b"]) for _ in range(200)))
    assert all(ranking.indices == (1, 0) for ranking in rankings)


async def test_a_cancelled_call_is_over_at_once_and_the_next_one_works(tei: Any) -> None:
    async with tei.reranker(max_documents_per_request=1, timeout=30.0) as leaf:
        with tei.server.failing(Fault(delay=60.0)):
            task = asyncio.ensure_future(leaf.arank("q", [f"0.{index} a" for index in range(1, 20)]))
            while not tei.server.requests:  # noqa: ASYNC110 - the server is on another thread
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (await leaf.arank("q", ["0.1 a", "0.2 b"])).indices == (1, 0)
