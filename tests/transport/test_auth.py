"""Authentication: how a request carries or is signed with a key, and that keys are redacted in what people read."""

from __future__ import annotations

import base64
import hmac
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from ksdk_rerank import KnowledgeSDKClient, TEIReranker, errors
from ksdk_rerank._transport import retry
from ksdk_rerank._transport.auth import ApiKey, Authentication, HeaderKey, QueryKey, RequestSigner
from ksdk_rerank._transport.service import HttpService
from ksdk_rerank.testing import Fault, LocalServer

Call = Callable[..., Any]
SECRET = "sk-live/4w1z+2c=="  # no half of it is in the hexadecimal address of an object
SHORT = ["x", "key", "123", "EMPTY", "a.b", "0.5"]


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as server:
        yield server


def key(value: str = SECRET) -> ApiKey:
    return ApiKey(value, service="Example", variables=["EXAMPLE_KEY"])


def service(auth: Authentication | None = None, **options: Any) -> HttpService:
    return HttpService("Example", auth=auth or HeaderKey(key()), **{"timeout": 5.0, **options})


class HmacSigner(RequestSigner):
    """Signs the method, the URL, a header and the body, in the manner of AWS Signature Version 4."""

    def __init__(self, secret: ApiKey) -> None:
        super().__init__(secret)
        self._secret = secret
        self._attempts = 0

    def sign(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        self._attempts += 1
        host = headers["host"]
        signature = signature_of(self._secret.get_secret_value(), f"{self._attempts} {method} {url} {host}", body)
        return {"x-attempt": str(self._attempts), "authorization": f"HMAC {signature}"}


def signature_of(secret: str, text: str, body: bytes) -> str:
    return hmac.new(secret.encode(), text.encode() + body, "sha256").hexdigest()


AUTHENTICATIONS: dict[str, Callable[[ApiKey], Authentication]] = {
    "a bearer token": HeaderKey,
    "another header": lambda key: HeaderKey(key, "x-api-key", prefix=""),
    "the query": QueryKey,
    "a signature": HmacSigner,
}


@pytest.fixture(params=AUTHENTICATIONS.values(), ids=list(AUTHENTICATIONS))
def auth(request: pytest.FixtureRequest) -> Authentication:
    made: Authentication = request.param(key())
    return made


def test_a_key_is_sent_in_the_header_that_the_service_wants(call: Call, server: LocalServer) -> None:
    with server.failing(Fault(body={})):
        call(service(HeaderKey(key())).post, server.url, {})
        call(service(HeaderKey(key(), "x-api-key", prefix="")).post, server.url, {})
    first, second = server.requests
    assert first.headers["authorization"] == f"Bearer {SECRET}"
    assert (second.headers["x-api-key"], second.headers.get("authorization")) == (SECRET, None)


@pytest.mark.parametrize(
    ("query", "sent"), [("", "?"), ("?api-version=2024-05-01&a=b%20c", "?api-version=2024-05-01&a=b%20c&")]
)
def test_a_key_is_added_to_the_query_and_to_nothing_that_people_read(
    call: Call, server: LocalServer, query: str, sent: str
) -> None:
    with server.failing(Fault(body={})):
        reply = call(service(QueryKey(key(), "code")).post, f"{server.url}/path{query}", {})
    [request] = server.requests
    assert request.path == f"/path{sent}code={quote(SECRET, safe='')}"
    assert "authorization" not in request.headers
    assert reply.url.startswith(f"{server.url}/path?")
    assert reply.url.endswith("code=...")


def test_a_signature_covers_the_method_the_url_the_headers_and_the_body_of_every_attempt(
    call: Call, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "_backoff", lambda state: 0.01)
    url = f"{server.url}/path?a=b%20c"
    with server.failing([Fault(status=503), Fault(body={})]):
        call(service(HmacSigner(key())).post, url, {"text": "grün"})
    for attempt, request in enumerate(server.requests, start=1):
        host = server.url.removeprefix("http://")
        expected = signature_of(SECRET, f"{attempt} POST {url} {host}", '{"text": "grün"}'.encode())
        assert request.headers["authorization"] == f"HMAC {expected}"
    assert len(server.requests) == 2


QUOTED = f"{'x' * 480}the key {SECRET} is wrong, as is {quote(SECRET, safe='')}"
RECEIVED = "receive_response_headers.complete"  # httpcore logs, at the level DEBUG, what a server sent
LEAKS = {
    "a refusal": Fault(status=401, body={"message": QUOTED}),
    "a wrong address": Fault(status=404, body=QUOTED.encode()),
    "a redirect": Fault(status=307, headers={"location": f"/{quote(SECRET, safe='')}?key={SECRET}"}),
    "no JSON": Fault(body=QUOTED.encode()),
    "a reset": Fault(reset=True),
    "silence": Fault(delay=9.0),
    "success": Fault(body={"echo": "fine"}),
}


@pytest.mark.parametrize("fault", LEAKS.values(), ids=LEAKS)
def test_a_secret_is_in_no_error_log_repr_or_pickle(
    server: LocalServer,
    auth: Authentication,
    fault: Fault,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(retry, "_backoff", lambda state: 0.01)
    tried = service(auth, timeout=0.1 if fault.delay else 5.0, retries=1)
    shown = [repr(auth), repr(vars(tried)), repr(pickle.dumps(tried))]
    with server.failing(fault):
        try:
            shown.append(repr(tried.post(server.url, {})))
        except errors.ServiceError as error:
            shown += [str(error), repr(vars(error)), repr(pickle.dumps(error)), repr(error.__cause__)]
            shown += "".join(traceback.format_exception(error)), *locals_of_all_frames(error)
    shown += [said for record in caplog.records if not (said := record.getMessage()).startswith(RECEIVED)]
    for form in (SECRET, quote(SECRET, safe=""), "4w1z"):  # nor half of it, where a text was cut
        assert [text for text in shown if form in text] == []


def locals_of_all_frames(error: BaseException) -> Iterator[str]:
    seen: BaseException | None = error
    while seen is not None:
        for frame in traceback.TracebackException.from_exception(seen, capture_locals=True).stack:
            if frame.filename != __file__:
                yield str(frame.locals)
        seen = seen.__cause__ or seen.__context__


def test_a_key_in_the_query_reaches_a_transport_of_the_user_s_and_shows_nowhere_else(call: Call) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(404, request=request)

    client = service(QueryKey(key()), client_factory=lambda: httpx.AsyncClient(transport=httpx.MockTransport(answer)))
    with pytest.raises(errors.NotFound, match=r"called: POST http://host/v1\?a=\.\.\.&key=\.\.\.\)"):
        call(client.post, "http://host/v1?a=b", {})
    assert seen[0].url.params["key"] == SECRET
    assert SECRET not in repr(seen[0]) + repr(seen[0].url) + str(seen[0].url)


@pytest.mark.parametrize("value", ["x", "0.5", SECRET])
def test_data_comes_back_as_it_was_sent_whatever_the_key(server: LocalServer, value: str) -> None:
    sent = {"text": f"To rotate a key, x or 123, EMPTY, a.b: {value}", "score": 0.5123, value: [123, value]}
    service = HttpService("Example", auth=HeaderKey(key(value)), timeout=5.0)
    with server.failing(Fault(body=sent)):
        reply = service.post(server.url, {})
    assert reply.data == sent
    assert json.loads(reply.content) == sent
    assert value == "x" or value not in repr(reply)


@pytest.mark.parametrize("value", ["x", "0.5", "0.5123456"])
def test_a_placeholder_changes_no_ranking(server: LocalServer, value: str) -> None:
    scores = [{"index": 0, "score": 0.123}, {"index": 1, "score": 0.5123456}]
    with server.failing(Fault(body=scores)), TEIReranker(server.url, api_key=value, timeout=5.0) as reranker:
        ranking = reranker.rank("query", ["a", "b"])
    assert [(ranked.index, ranked.raw_score) for ranked in ranking] == [(1, 0.5123456), (0, 0.123)]


@pytest.mark.parametrize("value", ["key", "rotate", "documentation"])
def test_a_search_finds_texts_that_hold_the_key(server: LocalServer, value: str) -> None:
    hit = {"id": value, "content": f"To rotate a key, see the documentation of {value}", "metadata": {value: value}}
    with server.failing(Fault(body={"hits": [hit]})), KnowledgeSDKClient(value, base_url=server.url) as client:
        [found] = client.search("query")
    assert (found.id, found.text) == (hit["id"], hit["content"])


@pytest.mark.parametrize("value", SHORT)
def test_an_error_stays_readable_with_a_short_key(server: LocalServer, value: str) -> None:
    said = f"max_length 512 exceeds 123 tokens; EMPTY key {value}"
    service = HttpService("Example", auth=HeaderKey(key(value)), timeout=5.0)
    with server.failing(Fault(status=400, body={"message": said})), pytest.raises(errors.BadRequest) as raised:
        service.post(server.url, {})
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


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_secret_is_redacted_in_every_form_in_which_it_is_quoted(form: Callable[[str], str]) -> None:
    for secret in ("longenough", 'q"uote\\d-key', SECRET, "k" * 64):
        redacted = key(secret).redacted(f"no such key: <{form(secret)}>")
        assert "no such key: <" in redacted
        assert secret not in redacted
        assert form(secret) not in redacted
        assert "**********" in redacted


@pytest.mark.parametrize("form", [name for name in FORMS if "bas" in name])
def test_only_what_a_byte_shares_with_its_neighbours_is_left_of_base64(form: str) -> None:
    for secret in ("longenough", SECRET, "k" * 64):
        left = key(secret).redacted(FORMS[form](secret)).removeprefix("Basic ").replace("**********", "").rstrip("=")
        assert len(left) <= 8  # the user "api:", and a shared character at either end


def test_a_key_in_a_reply_of_another_shape_is_redacted_in_the_error_but_not_in_the_reply(
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
def test_a_key_in_a_reply_that_is_not_json_is_redacted(call: Call, server: LocalServer, body: bytes) -> None:
    service = HttpService("Example", auth=HeaderKey(key()), timeout=5.0)
    with server.failing(Fault(body=body)), pytest.raises(errors.BadReply) as raised:
        call(service.post, server.url, {})
    assert SECRET not in str(raised.value) + raised.value.body
    assert raised.value.__cause__ is None


def test_a_copy_without_a_key_says_so_before_it_asks(
    call: Call, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = pickle.loads(pickle.dumps(HttpService("Example", auth=HeaderKey(key()))))
    with pytest.raises(errors.MissingKey, match="set EXAMPLE_KEY"):
        call(copied.post, server.url, {})
    monkeypatch.setenv("EXAMPLE_KEY", SECRET)
    with server.failing(Fault(body={})):
        assert call(copied.post, server.url, {}).status == 200
    assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {SECRET}"]
