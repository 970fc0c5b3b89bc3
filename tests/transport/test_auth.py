"""Keys: masked in what people read, never in data."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from ksdk_rerank import KnowledgeSDKClient, TEIReranker, errors
from ksdk_rerank._transport.auth import ApiKey
from ksdk_rerank._transport.service import HttpService
from ksdk_rerank.testing import Fault, LocalServer

Call = Callable[..., Any]
SECRET = "sk-live/4f1d+2c=="
SHORT = ["x", "key", "123", "EMPTY", "a.b", "0.5"]


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as server:
        yield server


def key(value: str) -> ApiKey:
    return ApiKey(value, service="Example", variables=["EXAMPLE_KEY"])


@pytest.mark.parametrize("value", [*SHORT, "sentinel-4711", SECRET])
def test_data_comes_back_as_it_was_sent_whatever_the_key(call: Call, server: LocalServer, value: str) -> None:
    sent = {"text": f"To rotate a key, x or 123, EMPTY, a.b: {value}", "score": 0.5123, value: [123, value]}
    service = HttpService("Example", key=key(value), timeout=5.0)
    with server.failing(Fault(body=sent)):
        reply = call(service.post, server.url, {})
    assert reply.data == sent
    assert json.loads(reply.content) == sent
    assert value == "x" or value not in repr(reply)


@pytest.mark.parametrize("value", [*SHORT, "0.5123456"])
def test_a_placeholder_changes_no_ranking(call: Call, server: LocalServer, value: str) -> None:
    scores = [{"index": 0, "score": 0.123}, {"index": 1, "score": 0.5123456}]
    with server.failing(Fault(body=scores)), TEIReranker(server.url, api_key=value, timeout=5.0) as reranker:
        ranking = call(reranker.rank, "query", ["a", "b"])
    assert [(ranked.index, ranked.raw_score) for ranked in ranking] == [(1, 0.5123456), (0, 0.123)]


@pytest.mark.parametrize("value", ["key", "rotate", "documentation"])
def test_a_search_finds_texts_that_hold_the_key(call: Call, server: LocalServer, value: str) -> None:
    hit = {"id": value, "content": f"To rotate a key, see the documentation of {value}", "metadata": {value: value}}
    with server.failing(Fault(body={"hits": [hit]})), KnowledgeSDKClient(value, base_url=server.url) as client:
        [found] = call(client.search, "query")
    assert (found.id, found.text) == (hit["id"], hit["content"])


@pytest.mark.parametrize("value", SHORT)
def test_an_error_stays_readable_with_a_short_key(call: Call, server: LocalServer, value: str) -> None:
    said = f"max_length 512 exceeds 123 tokens; EMPTY key {value}"
    service = HttpService("Example", key=key(value), timeout=5.0)
    with server.failing(Fault(status=400, body={"message": said})), pytest.raises(errors.BadRequest) as raised:
        call(service.post, server.url, {})
    assert f"Example answered 400: {said} (request id" in str(raised.value)
    assert "*" not in str(raised.value) + raised.value.body


FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda key: key,
    "twice": lambda key: f"{key}{key}",
    "in JSON": lambda key: json.dumps({"authorization": f"Bearer {key}"}),
    "in JSON of PHP": lambda key: json.dumps(key).replace("/", "\\/"),
    "in a URL": lambda key: f"https://example.com/?key={quote(key, safe='')}&x=1",
    "basic, as the user": lambda key: "Basic " + base64.b64encode(f"{key}:".encode()).decode(),
    "basic, as the password": lambda key: "Basic " + base64.b64encode(f":{key}".encode()).decode(),
    "basic, of a user": lambda key: "Basic " + base64.b64encode(f"bo:{key}".encode()).decode(),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 of URLs": lambda key: base64.urlsafe_b64encode(f"api:{key}".encode()).decode(),
}


@pytest.mark.parametrize("secret", ["longenough", 'q"uote\\d-key', SECRET, "k" * 64])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_secret_is_masked_in_every_form_in_which_it_is_quoted(
    server: LocalServer, form: Callable[[str], str], secret: str
) -> None:
    quoted = form(secret)
    service = HttpService("Example", key=key(secret), timeout=5.0)
    fault = Fault(status=401, body=f"no such key: <{quoted}>".encode())
    with server.failing(fault), pytest.raises(errors.Unauthorized) as raised:
        service.post(server.url, {})
    for text in (str(raised.value), raised.value.body):
        assert "no such key: <" in text
        assert secret not in text
        assert quoted not in text
        assert "**********" in text


@pytest.mark.parametrize("secret", ["longenough", SECRET, "k" * 64])
@pytest.mark.parametrize("form", [name for name in FORMS if "bas" in name])
def test_only_what_a_byte_shares_with_its_neighbours_is_left_of_base64(form: str, secret: str) -> None:
    left = key(secret).masked(FORMS[form](secret)).removeprefix("Basic ").replace("**********", "").rstrip("=")
    assert len(left) <= 8  # the user "api:", and a shared character at either end


def test_a_key_in_a_reply_of_another_shape_is_masked_in_the_error_but_not_in_the_reply(
    call: Call, server: LocalServer
) -> None:
    reply = Fault(body=[{"index": SECRET, "score": 0.5}])
    with (
        server.failing(reply),
        TEIReranker(server.url, api_key=SECRET, timeout=5.0) as reranker,
        pytest.raises(errors.BadReply, match="result 0 has the index") as raised,
    ):
        call(reranker.rank, "query", ["document"])
    assert SECRET not in str(raised.value) + raised.value.body
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


@pytest.mark.parametrize("body", [SECRET.encode(), b'{"cut": "' + SECRET.encode(), b"\xff" + SECRET.encode()])
def test_a_key_in_a_reply_that_is_not_json_is_masked(call: Call, server: LocalServer, body: bytes) -> None:
    service = HttpService("Example", key=key(SECRET), timeout=5.0)
    with server.failing(Fault(body=body)), pytest.raises(errors.BadReply) as raised:
        call(service.post, server.url, {})
    assert SECRET not in str(raised.value) + raised.value.body
    assert raised.value.__cause__ is None


def test_a_copy_without_a_key_says_so_before_it_asks(
    call: Call, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = pickle.loads(pickle.dumps(HttpService("Example", key=key(SECRET))))
    with pytest.raises(errors.MissingKey, match="set EXAMPLE_KEY"):
        call(copied.post, server.url, {})
    monkeypatch.setenv("EXAMPLE_KEY", SECRET)
    with server.failing(Fault(body={})):
        assert call(copied.post, server.url, {}).status == 200
    assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {SECRET}"]
