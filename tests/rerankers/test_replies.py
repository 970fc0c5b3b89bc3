"""Replies under status 200 that are not what they should be: logits, errors, lists that were cut, any JSON at all."""

from __future__ import annotations

import json
import math
import pickle
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ksdk_rerank import (
    CohereReranker,
    Fallback,
    JinaReranker,
    RerankEndpoint,
    Reranker,
    ScoreKind,
    Scores,
    TEIReranker,
    errors,
    from_config,
    to_config,
)
from ksdk_rerank.rerankers._parsing import scores_by_index, usage_of
from ksdk_rerank.testing import Fault

Call = Callable[..., Any]
DOCUMENTS = ["7.7 a", "3.9 b", "-2.3 c"]


# Scores of another kind


@pytest.mark.parametrize("documents", [DOCUMENTS, ["0.5 a", "0.4 b", "1.002 c"], ["0.5 a", "0.4 b", "-0.002 c"]])
def test_logits_are_a_bad_reply_that_advises_raw_scores(provider: Any, documents: list[str]) -> None:
    for options in ({}, {"max_documents_per_request": 1}):
        with provider.reranker(**options) as leaf, pytest.raises(errors.BadReply) as raised:
            leaf.rank("q", documents)
        assert "pass raw_scores=True" in str(raised.value)
        assert "base_url" not in str(raised.value)
        assert raised.value.status == 200
        assert raised.value.body


def test_a_fallback_moves_on_from_logits(call: Call, route: Any) -> None:
    with Fallback([route.reranker(), "input-order"]) as reranker:
        ranking = call(reranker.rank, "q", DOCUMENTS)
    assert ranking.reranked_by == "input-order"
    assert "raw_scores=True" in ranking.failures[0].message


def test_with_raw_scores_logits_order_and_their_sigmoids_are_scores(
    provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reranker = provider.reranker(raw_scores=True)
    for variable in ("CO_API_KEY", "JINA_API_KEY"):
        monkeypatch.setenv(variable, "test-key")  # for the copy out of a pickle
    for leaf in (reranker, pickle.loads(pickle.dumps(reranker))):
        ranking = leaf.rank("q", DOCUMENTS)
        assert [ranked.raw_score for ranked in ranking] == [7.7, 3.9, -2.3]
        assert [ranked.score for ranked in ranking] == pytest.approx([1 / (1 + math.exp(-x)) for x in (7.7, 3.9, -2.3)])
        assert leaf.score_kind is ScoreKind.LOGIT


def test_raw_scores_survive_a_configuration_and_tell_caches_apart(provider: Any) -> None:
    plain, raw = provider.reranker(), provider.reranker(raw_scores=True)
    assert plain.identifying_parameters() != raw.identifying_parameters()
    assert from_config(to_config(raw)).parameters() == raw.parameters()
    assert from_config(to_config(raw)).score_kind is ScoreKind.LOGIT  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["cohere", "jina"])
def test_a_hosted_service_is_sent_no_field_for_raw_scores(provider_named: Callable[[str], Any], name: str) -> None:
    provider = provider_named(name)
    for options in ({}, {"raw_scores": True}):
        with provider.reranker(**options) as leaf:
            leaf.rank("q", ["0.5 a"])
    first, second = (request.json() for request in provider.server.requests)
    assert first == second


def test_what_rounding_adds_to_a_score_is_clipped(call: Call, route: Any) -> None:
    with route.reranker() as leaf:
        ranking = call(leaf.rank, "q", ["1.0004 a", "0.5 b", "-0.0004 c"])
    assert [(r.raw_score, r.score) for r in ranking] == [(1.0004, 1.0), (0.5, 0.5), (-0.0004, 0.0)]


# Errors under status 200

REASON = "batch size 40 > maximum allowed batch size 32"
SAID_INSTEAD: list[object] = [
    {"error": REASON},
    {"error": REASON, "error_type": "Validation"},
    {"error": {"message": REASON, "type": "invalid_request_error", "code": 400}},
    {"error": {"code": 400, "message": REASON}, "results": None},
    {"detail": REASON},
    {"detail": [{"loc": ["body", "documents"], "msg": REASON, "type": "value_error"}]},
    {"message": REASON},
    {"code": 400, "msg": REASON},
    {"results": [], "error": REASON},
    {"success": False, "errors": [{"code": 7003, "message": REASON}], "result": None},
    {"errcode": 40001, "errmsg": REASON},
    [{"error": REASON}],
    REASON,
]


@pytest.mark.parametrize("name", ["jina", "tei"])  # whose replies are an object, and a list
@pytest.mark.parametrize("body", SAID_INSTEAD, ids=json.dumps)
def test_an_error_under_a_status_of_success_is_quoted(
    provider_named: Callable[[str], Any], name: str, body: object
) -> None:
    provider, status = provider_named(name), 201 if isinstance(body, list) else 200
    with (
        provider.reranker() as leaf,
        provider.server.failing(Fault(status=status, body=json.dumps(body).encode())),
        pytest.raises(errors.BadReply) as raised,
    ):
        leaf.rank("q", ["a"])
    assert f"answered {status}, but says: {REASON}" in str(raised.value)
    assert len(provider.server.requests) == 1


def test_a_long_reason_is_quoted_in_part(route: Any) -> None:
    with (
        route.reranker() as leaf,
        route.server.failing(Fault(body={"error": "word " * 10_000})),
        pytest.raises(errors.BadReply, match="says: word word") as raised,
    ):
        leaf.rank("q", ["a"])
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize("before", range(440, 500, 7))
def test_a_key_in_a_reason_is_redacted_before_it_is_cut(provider_named: Callable[[str], Any], before: int) -> None:
    secret = "sentinel-4f1d2c-and-more-of-it"
    jina = provider_named("jina")
    for body in ({"error": "x" * before + secret}, jina.body([(secret, 0.1)]), jina.body([(0, secret)])):
        with (
            jina.reranker(api_key=secret) as leaf,
            jina.server.failing(Fault(body=body)),
            pytest.raises(errors.BadReply) as raised,
        ):
            leaf.rank("q", ["a"])
        assert "sentinel" not in str(raised.value)
        assert "more-of-it" not in str(raised.value)


def test_a_message_beside_results_is_not_taken_for_an_error(call: Call, provider_named: Callable[[str], Any]) -> None:
    jina = provider_named("jina")
    body = {**jina.body([(0, 0.5)]), "code": 200, "message": "success"}
    with jina.reranker() as leaf, jina.server.failing(Fault(body=body)):
        assert len(call(leaf.rank, "q", ["a"])) == 1
    broken = {**jina.body([(0, None)]), "code": 200, "message": "success"}
    with (
        jina.reranker() as leaf,
        jina.server.failing(Fault(body=broken)),
        pytest.raises(errors.BadReply, match="result 0 has the relevance_score None") as raised,
    ):
        call(leaf.rank, "q", ["a"])
    assert "success" not in str(raised.value)


def test_a_reply_without_results_says_so_and_asks_to_check_the_address(provider: Any) -> None:
    for body in ({}, {"object": "list", "data": [{"embedding": [0.1]}]}, {"results": None}):
        with (
            provider.reranker() as leaf,
            provider.server.failing(Fault(body=body)),
            pytest.raises(errors.BadReply, match="check that base_url points to this service") as raised,
        ):
            leaf.rank("q", ["a"])
        expected = "the reply has no results" if provider.name != "tei" else "an object, not a list"
        assert expected in str(raised.value)


# Lists that were cut


CUT: list[list[tuple[object, object]]] = [[(1, 0.9), (0, 0.1)], [(2, 0.3)], [(0, 0.1), (2, 0.2)]]


def test_fewer_results_than_documents_are_said_to_be_cut(provider: Any) -> None:
    for results in CUT:
        with (
            provider.reranker() as leaf,
            provider.server.failing(Fault(body=provider.body(results))),
            pytest.raises(errors.BadReply) as raised,
        ):
            leaf.rank("q", ["a", "b", "c"])
        message = str(raised.value)
        assert f"only {len(results)} of 3 documents have a result" in message
        assert "the list was cut; remove a limit (such as top_n or top_k) at the server" in message
        assert f"max_documents_per_request={len(results)}" in message
        assert "base_url" not in message


def test_a_list_cut_in_one_of_several_requests_is_told_as_well(call: Call, route: Any) -> None:
    faults = [None, Fault(body=route.body([(0, 0.5)])), None]
    with (
        route.reranker(max_documents_per_request=2) as leaf,
        route.server.failing(faults),
        pytest.raises(errors.BadReply, match="only 1 of 2 documents have a result"),
    ):
        call(leaf.rank, "q", [f"0.{index} a" for index in range(1, 7)])


def test_a_listwise_model_is_not_advised_to_split(provider_named: Callable[[str], Any]) -> None:
    jina = provider_named("jina")
    with (
        jina.reranker(model="jina-reranker-v3") as leaf,
        jina.server.failing(Fault(body=jina.body([(0, 0.5)]))),
        pytest.raises(errors.BadReply, match="the list was cut") as raised,
    ):
        leaf.rank("q", ["a", "b"])
    assert "max_documents_per_request" not in str(raised.value)


# Results that cannot be trusted

UNTRUSTED: dict[str, list[tuple[object, object]]] = {
    "an index twice": [(0, 0.1), (1, 0.2), (1, 0.3)],
    "an index missing": [(0, 0.1), (2, 0.3)],
    "no results": [],
    "more results than documents": [(0, 0.1), (1, 0.2), (2, 0.3), (3, 0.4)],
    "the same result more often than there are documents": [(0, 0.1), (1, 0.2), (2, 0.3), (2, 0.3)],
    "a negative index": [(0, 0.1), (1, 0.2), (-1, 0.3)],
    "an index out of range": [(0, 0.1), (1, 0.2), (3, 0.3)],
    "indices from 1": [(1, 0.1), (2, 0.2), (3, 0.3)],
    "a boolean index": [(0, 0.1), (True, 0.2), (2, 0.3)],
    "a string index": [(0, 0.1), ("1", 0.2), (2, 0.3)],
    "a fractional index": [(0, 0.1), (1.0, 0.2), (2, 0.3)],
    "a null index": [(0, 0.1), (None, 0.2), (2, 0.3)],
    "NaN": [(0, 0.1), (1, float("nan")), (2, 0.3)],
    "an infinite score": [(0, 0.1), (1, float("inf")), (2, 0.3)],
    "a score beyond every float": [(0, 0.1), (1, 10**400), (2, 0.3)],
    "a string score": [(0, 0.1), (1, "0.2"), (2, 0.3)],
    "a null score": [(0, 0.1), (1, None), (2, 0.3)],
    "a boolean score": [(0, 0.1), (1, True), (2, 0.3)],
    "a list score": [(0, 0.1), (1, [0.2]), (2, 0.3)],
}
OTHER_SHAPES: list[object] = [[], {}, 3, "x", None, True, [1], {"results": None}, {"results": {"0": 1}}, [[]]]


@pytest.mark.parametrize("results", UNTRUSTED.values(), ids=UNTRUSTED)
def test_results_that_cannot_be_trusted_are_refused(results: list[tuple[object, object]]) -> None:
    with pytest.raises(ValueError, match="result"):
        scores_by_index([{"index": index, "relevance_score": score} for index, score in results], 3)


@pytest.mark.parametrize("name", ["an index twice", "a boolean index", "a null score"])
def test_results_that_cannot_be_trusted_are_a_bad_reply(provider: Any, name: str) -> None:
    with (
        provider.reranker(timeout=5.0) as leaf,
        provider.server.failing(Fault(body=provider.body(UNTRUSTED[name]))),
        pytest.raises(errors.BadReply, match="check that base_url points to") as raised,
    ):
        leaf.rank("q", ["a", "b", "c"])
    assert raised.value.status == 200
    assert raised.value.body
    assert len(provider.server.requests) == 1


def test_json_of_another_shape_is_a_bad_reply(provider: Any) -> None:
    for body in OTHER_SHAPES:
        failing = provider.server.failing(Fault(body=json.dumps(body).encode()))
        with provider.reranker(timeout=5.0) as leaf, failing, pytest.raises(errors.BadReply):
            leaf.rank("q", ["a", "b", "c"])


# Any JSON at all

KEYS = st.sampled_from(
    ["results", "data", "tokens", "index", "relevance_score", "score", "usage", "meta", "billed_units", "error", "x"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.integers(0, 3)
ANY = st.recursive(LEAVES, lambda of: st.lists(of, max_size=5) | st.dictionaries(KEYS, of, max_size=5), max_leaves=30)
RESULT = st.fixed_dictionaries(
    {}, optional={"index": st.integers(-1, 3) | ANY, "relevance_score": st.floats() | ANY, "score": st.floats() | ANY}
)
RESULTS = st.lists(RESULT | ANY, max_size=4)
REPLIES = ANY | RESULTS | st.fixed_dictionaries({"results": RESULTS | ANY}, optional={"usage": ANY, "meta": ANY})


@given(data=REPLIES, count=st.integers(1, 3))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_json_is_read_as_scores_or_refused(data: object, count: int) -> None:
    for leaf in _leaves():
        with suppress(ValueError):
            scores = leaf._parse(data, count)
            assert isinstance(scores, Scores)
            assert len(scores.raw) == count
            assert all(type(value) is float and math.isfinite(value) for value in scores.raw)
            assert all(math.isfinite(value) for value in scores.usage.values())


def _leaves() -> list[Any]:
    url = "http://localhost:9"
    # The others read replies as Jina does, from other fields.
    leaves: list[Any] = [JinaReranker(base_url=url), TEIReranker(url), RerankEndpoint(url)]
    try:
        return [*leaves, CohereReranker(base_url=url)]
    except errors.MissingExtra:
        return leaves


@given(data=REPLIES)
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_only_our_errors_escape_whatever_json_is_sent(provider: Any, reranker: Reranker, data: object) -> None:
    with provider.server.failing(Fault(body=json.dumps(data).encode())), suppress(errors.BadReply):
        assert sorted(reranker.rank("q", ["a", "b"]).indices) == [0, 1]


NESTED = {
    "results": lambda n: {"results": [{"index": i, "relevance_score": 0.5, "score": 0.5} for i in range(n)]},
    "the same index": lambda n: {"results": [{"index": 0, "relevance_score": 0.5}] * n},
    "usage": lambda n: {"results": [], "usage": {str(i): i for i in range(n)}},
    "an index of many characters": lambda n: {"results": [{"index": "7" * n}]},
    "an index of many keys": lambda n: {"results": [{"index": {str(i): i for i in range(n)}}]},
}


@pytest.mark.parametrize("made", NESTED.values(), ids=NESTED)
def test_reading_takes_time_in_proportion_to_the_reply(made: Callable[[int], dict[str, Any]]) -> None:
    def seconds(n: int) -> float:
        data = made(n)
        best = math.inf
        for _ in range(3):
            started = time.process_time()
            for read in (lambda: scores_by_index(data["results"], n), lambda: usage_of(data.get("usage"))):
                with suppress(ValueError):
                    read()
            best = min(best, time.process_time() - started)
        return best

    assert seconds(20_000) < 40 * seconds(2_000) + 0.05
