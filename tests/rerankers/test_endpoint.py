"""`RerankEndpoint`: options that only a server of unknown make needs. `test_services.py` has the servers themselves."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from ksdk_rerank import RerankEndpoint, errors, from_config, to_config
from ksdk_rerank._fingerprint import identity

Call = Callable[..., Any]
URL = "http://localhost:9"


@pytest.fixture
def server(provider_named: Callable[[str], Any]) -> Any:
    return provider_named("xinference").server


def test_what_is_asked_for_is_sent_and_nothing_else(call: Call, server: Any) -> None:
    with RerankEndpoint(server.url) as plain:
        call(plain.rank, "q", ["a"])
    with RerankEndpoint(
        server.url + "/v1?tenant=b",
        "m",
        extra_headers={"X-Title": "my app", "accept": "*/*"},
        extra_body={"instruction": "Prefer key documents", "session_id": "7", "provider": {"order": ["a", "b"]}},
        extra_query={"api-version": "2024-05-01", "q": "a b"},
    ) as asked:
        call(asked.rank, "q", ["a"])
    first, second = server.requests
    assert (first.path, first.json()) == ("/v1/rerank", {"query": "q", "documents": ["a"]})
    assert second.path == "/v1/rerank?tenant=b&api-version=2024-05-01&q=a+b"
    assert second.json() == {
        "model": "m",
        "query": "q",
        "documents": ["a"],
        "instruction": "Prefer key documents",
        "session_id": "7",
        "provider": {"order": ["a", "b"]},
    }
    assert (second.headers["x-title"], second.headers["accept"]) == ("my app", "*/*")
    assert first.headers["content-type"] == second.headers["content-type"] == "application/json"


def test_what_is_added_survives_a_configuration_and_tells_caches_apart() -> None:
    given = {"instruction": "Prefer news"}
    leaf = RerankEndpoint(URL, extra_body=given)
    given["instruction"] = "changed since"
    for copied in (from_config(to_config(leaf)), pickle.loads(pickle.dumps(leaf))):
        assert copied.parameters() == leaf.parameters()
        assert copied.parameters()["extra_body"] == {"instruction": "Prefer news"}
    assert identity(leaf, "") != identity(RerankEndpoint(URL, extra_body=given), "")


@pytest.mark.parametrize(
    "extra",
    [
        {"extra_headers": {"Authorization": "Bearer x"}},
        {"extra_headers": {"x-api-key": "x"}},
        {"extra_headers": {"X-Tenant": "sk-4f1d2c9a8b7e"}},
        {"extra_query": {"code": "x"}},
        {"extra_body": {"api_key": "x"}},
    ],
)
def test_a_secret_is_refused_because_a_configuration_would_show_it(extra: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="looks like a secret; pass a key as api_key="):
        RerankEndpoint(URL, **extra)


@pytest.mark.parametrize(
    ("extra", "advice"),
    [
        ({"extra_headers": {"a": 1}}, "must be printable ASCII text, got int"),
        ({"extra_headers": {"a": "b\r\nc: d"}}, "must be printable ASCII text"),
        ({"extra_headers": "a: b"}, "must be a mapping with strings as keys, got str"),
        ({"extra_query": {1: "a"}}, "must be a mapping with strings as keys"),
        ({"extra_body": {"a": object()}}, "must be plain data for JSON"),
        ({"extra_body": {"a": float("nan")}}, "must be plain data for JSON"),
    ],
)
def test_what_is_no_plain_data_is_refused(extra: dict[str, Any], advice: str) -> None:
    with pytest.raises(TypeError, match=advice):
        RerankEndpoint(URL, **extra)


def test_other_arguments_that_make_no_sense_are_refused() -> None:
    for name in ("model", "query", "documents", "input"):
        with pytest.raises(ValueError, match=f"extra_body contains '{name}', .* leave it out"):
            RerankEndpoint(URL, documents_field="input", extra_body={name: "x"})
    with pytest.raises(ValueError, match='scores must be "unit" or "logit"'):
        RerankEndpoint(URL, scores="raw")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="documents_field is blank"):
        RerankEndpoint(URL, documents_field="")


def test_logits_that_were_not_announced_are_a_bad_reply_with_advice(server: Any) -> None:
    with RerankEndpoint(server.url) as leaf, pytest.raises(errors.BadReply, match='pass scores="logit"'):
        leaf.rank("q", ["7.7 a", "-2.3 b"])
    with RerankEndpoint(server.url, scores="logit") as leaf:
        assert leaf.rank("q", ["7.7 a", "-2.3 b"])[0].raw_score == 7.7


def test_the_name_is_the_address_and_the_model() -> None:
    assert RerankEndpoint("https://rerank.example.com/v1", "a/b").name == "rerank.example.com#a/b"
    assert RerankEndpoint("http://localhost:8080").name == "localhost:8080"


def test_a_key_is_read_from_the_variable_that_is_named(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.MissingKey, match="set SOME_KEY"):
        RerankEndpoint(server.url, api_key_variable="SOME_KEY")
    monkeypatch.setenv("SOME_KEY", "from-the-environment")
    named = RerankEndpoint(server.url, api_key_variable="SOME_KEY")
    for leaf in (named, from_config(to_config(named)), pickle.loads(pickle.dumps(named))):
        leaf.rank("q", ["a"])
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer from-the-environment"}


def test_a_copy_whose_key_is_left_behind_says_how_to_name_a_variable(server: Any) -> None:
    copied = pickle.loads(pickle.dumps(RerankEndpoint(server.url, api_key="test-key")))
    with pytest.raises(errors.MissingKey, match="set a variable that api_key_variable names"):
        copied.rank("q", ["a"])
    assert not server.requests
