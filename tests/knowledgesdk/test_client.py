"""The KnowledgeSDK client's acceptance table: what a robust client must accept and do, a row a test or more."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Mapping
from email.utils import formatdate
from typing import Any

import pytest
from pydantic import SecretStr

from ksdk_rerank import KnowledgeSDKClient, SearchHit, SearchResults, errors
from ksdk_rerank._transport import retry
from ksdk_rerank.testing import Fault, LocalServer, Reply

Call = Callable[..., Any]
KEY = "knowledgesdk_test_sentinel"
HIT = {
    "id": "ki_1",
    "title": "Plans",
    "content": "Team costs 20.",
    "source": "https://example.com/plans",
    "score": 0.87,
}


@pytest.fixture(autouse=True)
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_backoff", lambda state: 0.01)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(lambda request: Reply.json({"hits": [HIT], "total": 1, "query": "plans"})) as server:
        yield server


@pytest.fixture
def client(server: LocalServer) -> Iterator[KnowledgeSDKClient]:
    with KnowledgeSDKClient(KEY, base_url=server.url, timeout=5) as client:
        yield client


def directly(method: Call, *args: object, **options: object) -> Any:
    """Instead of `call` in tables: what is made of a reply is the same in synchronous and asynchronous calls."""
    return method(*args, **options)


def found(call: Call, server: LocalServer, client: KnowledgeSDKClient, body: object, **options: Any) -> SearchResults:
    """What the client makes of a successful reply with `body`."""
    with server.failing(Fault(body=body)):
        results = call(client.search, "plans", **options)
    assert isinstance(results, SearchResults)
    return results


def only(results: SearchResults) -> SearchHit:
    assert len(results) == 1
    return results[0]


def fails(call: Call, server: LocalServer, client: KnowledgeSDKClient, fault: Fault) -> Any:
    with server.failing(fault), pytest.raises(errors.ServiceError) as caught:
        call(client.search, "plans")
    return caught.value


# Base URL


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("", "/v1/search"),
        ("/", "/v1/search"),
        ("/v1", "/v1/search"),
        ("/v1/", "/v1/search"),
        ("/v1/search", "/v1/search"),
        ("/v1/search/", "/v1/search"),
        ("/gateway", "/gateway/v1/search"),
        ("/gateway/ksdk/v1/", "/gateway/ksdk/v1/search"),
        ("?api-version=2024-05-01", "/v1/search?api-version=2024-05-01"),
        ("/v1?api-version=2024-05-01", "/v1/search?api-version=2024-05-01"),
        ("/gateway/v1/search/?a=1&b=2", "/gateway/v1/search?a=1&b=2"),
    ],
)
def test_every_base_url_ends_at_one_search_path(server: LocalServer, base: str, path: str) -> None:
    directly(KnowledgeSDKClient(KEY, base_url=f"{server.url}{base}").search, "plans")
    assert [request.path for request in server.requests] == [path]


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://api.knowledgesdk.com", "https://api.knowledgesdk.com/v1/search"),
        ("http://localhost:8000/search", "http://localhost:8000/search/v1/search"),
        (" https://api.knowledgesdk.com/v1 ", "https://api.knowledgesdk.com/v1/search"),
    ],
)
def test_the_url_is_known_before_the_first_call(base: str, url: str) -> None:
    assert KnowledgeSDKClient(KEY, base_url=base).url == url


def test_the_base_url_comes_from_the_environment_and_else_is_the_hosted_api(monkeypatch: pytest.MonkeyPatch) -> None:
    assert KnowledgeSDKClient(KEY).url == "https://api.knowledgesdk.com/v1/search"
    monkeypatch.setenv("KNOWLEDGESDK_BASE_URL", "http://127.0.0.1:9/v1")
    assert KnowledgeSDKClient(KEY).url == "http://127.0.0.1:9/v1/search"
    assert KnowledgeSDKClient(KEY, base_url="http://127.0.0.1:8").url == "http://127.0.0.1:8/v1/search"


@pytest.mark.parametrize(
    "base", ["api.knowledgesdk.com", "ftp://example.com", "https://", "https://x:0", "https://x y", "https://x:1e", ""]
)
def test_a_malformed_base_url_is_refused(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"^base_url must be like https://api\.knowledgesdk\.com"):
        KnowledgeSDKClient(KEY, base_url=base)
    if base:
        monkeypatch.setenv("KNOWLEDGESDK_BASE_URL", base)
        with pytest.raises(ValueError, match=r"^the environment variable KNOWLEDGESDK_BASE_URL must be like https://"):
            KnowledgeSDKClient(KEY)


@pytest.mark.parametrize(
    "base",
    [
        "https://alice:s3cret@host",
        "https://s3cret@host/v1",
        "alice:s3cret@host",
        "https://alice:12/s3cret@host",
        "https://host?key=s3cret",
        "https://host/v1/search?s3cret",
        "https://host#s3cret",
    ],
)
def test_a_secret_in_the_base_url_is_refused_and_not_shown(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="pass a key as api_key=") as raised:
        KnowledgeSDKClient(KEY, base_url=base)
    monkeypatch.setenv("KNOWLEDGESDK_BASE_URL", base)
    with pytest.raises(ValueError, match="KNOWLEDGESDK_BASE_URL") as from_the_environment:
        KnowledgeSDKClient(KEY)
    assert "s3cret" not in str(raised.value) + str(from_the_environment.value)


@pytest.mark.parametrize("base", [b"https://host", 8080, ["https://host"]])
def test_a_base_url_that_is_no_string_is_a_type_error(base: Any) -> None:
    with pytest.raises(TypeError, match="base_url must be a string"):
        KnowledgeSDKClient(KEY, base_url=base)


def test_a_query_in_the_base_url_is_sent_and_its_values_are_not_shown(call: Call, server: LocalServer) -> None:
    client = KnowledgeSDKClient(KEY, base_url=f"{server.url}?tenant=hunter2")
    raised = fails(call, server, client, Fault(status=404))
    assert server.requests[0].path == "/v1/search?tenant=hunter2"
    assert "hunter2" not in repr(client) + str(raised)
    assert f"called: POST {server.url}/v1/search?tenant=...)" in str(raised)


# Key


@pytest.mark.parametrize(
    "key", ["knowledgesdk_live_1", "knowledgesdk_test_1", "sk_ks_1", "anything", SecretStr("sk_ks_2")]
)
def test_a_key_of_any_prefix_goes_into_its_header(server: LocalServer, key: str | SecretStr) -> None:
    directly(KnowledgeSDKClient(key, base_url=server.url).search, "plans")
    plain = key.get_secret_value() if isinstance(key, SecretStr) else key
    assert server.requests[0].headers["x-api-key"] == plain


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"KNOWLEDGESDK_API_KEY": "a", "KNOWLEDGE_SDK_API_KEY": "b", "KNOWLEDGE_API_KEY": "c"}, "a"),
        ({"KNOWLEDGE_SDK_API_KEY": "b", "KNOWLEDGE_API_KEY": "c"}, "b"),
        ({"KNOWLEDGESDK_API_KEY": "", "KNOWLEDGE_API_KEY": "c"}, "c"),
    ],
)
def test_the_key_is_taken_from_the_environment_in_order(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], expected: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    directly(KnowledgeSDKClient(base_url=server.url).search, "plans")
    assert server.requests[0].headers["x-api-key"] == expected


def test_a_missing_key_names_the_variables() -> None:
    with pytest.raises(
        errors.MissingKey, match=r"pass api_key=\.\.\. or set KNOWLEDGESDK_API_KEY \(KNOWLEDGE_SDK_API_KEY, "
    ):
        KnowledgeSDKClient()


@pytest.mark.parametrize("base", ["https://api.knowledgesdk.com/v1", "HTTPS://API.KnowledgeSDK.com.:443", None])
def test_the_hosted_api_wants_a_key(base: str | None) -> None:
    with pytest.raises(errors.MissingKey, match="KNOWLEDGESDK_API_KEY"):
        KnowledgeSDKClient(base_url=base)


def test_a_server_of_ones_own_needs_no_key(call: Call, server: LocalServer) -> None:
    client = KnowledgeSDKClient(base_url=server.url)
    for each in (client, pickle.loads(pickle.dumps(client))):
        assert call(each.search, "plans").texts == ["Team costs 20."]
    assert not any("x-api-key" in request.headers for request in server.requests)


@pytest.mark.parametrize("key", ["", " ", "two words", "line\nbreak", "sk_ks_ü", "\x00"])
def test_a_key_that_no_service_could_have_given_is_refused_without_quoting_it(key: str) -> None:
    with pytest.raises(ValueError, match="copy the key again") as caught:
        KnowledgeSDKClient(key)
    assert not key.strip() or key not in str(caught.value)


def test_the_key_is_never_shown(call: Call, server: LocalServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = KnowledgeSDKClient(KEY, base_url=server.url, empty_when_unavailable=True)
    raised = fails(call, server, client, Fault(status=401, body={"message": f"bad key {KEY}"}))
    with server.failing(Fault(status=404)):
        call(client.search, "plans")
    shown = [repr(client), repr(vars(client)), str(raised), repr(raised), raised.body, caplog.text]
    assert not any(KEY in text for text in shown)
    assert KEY.encode() not in pickle.dumps(client)


def test_an_unpickled_client_takes_its_key_from_the_environment(
    call: Call, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = pickle.loads(pickle.dumps(KnowledgeSDKClient(KEY, base_url=server.url)))
    with pytest.raises(errors.MissingKey, match="KNOWLEDGESDK_API_KEY"):
        call(copied.search, "plans")
    monkeypatch.setenv("KNOWLEDGESDK_API_KEY", "sk_ks_fresh")
    call(copied.search, "plans")
    assert server.requests[-1].headers["x-api-key"] == "sk_ks_fresh"


# Request


def test_the_body_holds_query_and_limit_and_nothing_else(
    call: Call, server: LocalServer, client: KnowledgeSDKClient
) -> None:
    call(client.search, "plans", 50)
    request = server.requests[0]
    assert (request.method, request.json()) == ("POST", {"query": "plans", "limit": 50})
    assert request.headers["content-type"] == "application/json"


def test_twenty_candidates_are_asked_for_by_default(
    call: Call, server: LocalServer, client: KnowledgeSDKClient
) -> None:
    call(client.search, "plans")
    assert server.requests[0].json() == {"query": "plans", "limit": 20}


def test_further_fields_are_sent_only_when_given(call: Call, server: LocalServer, client: KnowledgeSDKClient) -> None:
    call(client.search, "plans", api_key_id="key_7", extra={"category": "Pricing"})
    assert server.requests[0].json() == {"query": "plans", "limit": 20, "apiKeyId": "key_7", "category": "Pricing"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"query": ""}, ValueError, "pass a question or keywords"),
        ({"query": " \n"}, ValueError, "pass a question or keywords"),
        ({"query": None}, TypeError, "query must be a string"),
        ({"query": "x", "limit": 0}, ValueError, "limit must be at least 1, got 0"),
        ({"query": "x", "limit": True}, ValueError, "limit must be an integer of at least 1, got True"),
        ({"query": "x", "limit": 2.5}, ValueError, "limit must be an integer of at least 1"),
        ({"query": "x", "extra": {"limit": 5}}, ValueError, "pass it as an argument of search"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_sent(
    server: LocalServer,
    client: KnowledgeSDKClient,
    arguments: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        directly(client.search, **arguments)
    assert server.requests == []


# Envelope


@pytest.mark.parametrize(
    "body",
    [
        {"hits": [HIT]},
        {"results": [HIT]},
        {"items": [HIT]},
        [HIT],
        {"hits": [], "results": [HIT]},
        {"hits": None, "items": [HIT]},
        {"hits": [HIT], "results": [HIT, HIT]},
    ],
)
def test_the_first_list_with_hits_is_read(server: LocalServer, client: KnowledgeSDKClient, body: object) -> None:
    assert only(found(directly, server, client, body)).id == "ki_1"


@pytest.mark.parametrize("body", [{"hits": []}, {"results": [], "items": []}, []])
def test_an_empty_list_means_that_nothing_was_found(
    server: LocalServer, client: KnowledgeSDKClient, body: object
) -> None:
    assert found(directly, server, client, body) == SearchResults((), "plans", 0)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(body={"total": 0}),
        Fault(body={"hits": None}),
        Fault(body={"hits": {"a": 1}}),
        Fault(body=b"null"),
        Fault(body=b'"hits"'),
        Fault(body=b"17"),
        Fault(body={"hits": ["text"]}),
        Fault(body=b"<html>welcome</html>"),
        Fault(body=b'{"hits": ['),
        Fault(body=b""),
        Fault(status=204),
    ],
)
def test_a_success_without_a_list_is_a_bad_reply_and_not_an_empty_result(
    server: LocalServer, client: KnowledgeSDKClient, fault: Fault
) -> None:
    raised = fails(directly, server, client, fault)
    assert type(raised) is errors.BadReply
    assert "check that base_url points to this service" in str(raised)
    assert raised.request_id == "req_1"
    assert len(server.requests) == 1


# Id, text, source, score, metadata


@pytest.mark.parametrize(("value", "expected"), [("ki_9", "ki_9"), (42, "42"), (0, "0")])
def test_an_id_may_be_a_string_or_a_number(
    server: LocalServer, client: KnowledgeSDKClient, value: object, expected: str
) -> None:
    assert only(found(directly, server, client, [{**HIT, "id": value}])).id == expected


@pytest.mark.parametrize("item", [{}, {"id": None}, {"id": ""}, {"id": True}, {"id": ["x"]}])
def test_a_missing_id_is_derived_from_source_and_text(
    server: LocalServer, client: KnowledgeSDKClient, item: dict[str, object]
) -> None:
    def id_of(**fields: object) -> str:
        bare = {name: value for name, value in HIT.items() if name != "id"}
        return only(found(directly, server, client, [{**bare, **item, **fields}])).id

    assert id_of() == id_of() == id_of(score=0.1)
    assert len({id_of(), id_of(content="Other."), id_of(source="https://example.com/other")}) == 3


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"content": "c", "snippet": "s", "description": "d", "title": "t"}, "c"),
        ({"content": "", "snippet": "s", "description": "d", "title": "t"}, "s"),
        ({"content": None, "description": "d", "title": "t"}, "d"),
        ({"content": 7, "title": "t"}, "t"),
    ],
)
def test_the_text_is_the_first_field_that_has_any(
    server: LocalServer, client: KnowledgeSDKClient, fields: dict[str, object], text: str
) -> None:
    assert only(found(directly, server, client, [fields])).text == text


def test_items_without_any_text_are_left_out(call: Call, server: LocalServer, client: KnowledgeSDKClient) -> None:
    assert only(found(call, server, client, [{"id": "a"}, HIT, {"id": "b", "content": " "}])).id == "ki_1"


@pytest.mark.parametrize(
    ("fields", "source"),
    [
        ({"source": "a", "sourceUrl": "b", "url": "c"}, "a"),
        ({"sourceUrl": "b", "url": "c"}, "b"),
        ({"source": None, "url": "c"}, "c"),
        ({}, None),
    ],
)
def test_the_source_is_the_first_field_that_has_one(
    server: LocalServer, client: KnowledgeSDKClient, fields: dict[str, object], source: str | None
) -> None:
    assert only(found(directly, server, client, [{"content": "x", **fields}])).source == source


@pytest.mark.parametrize(
    ("value", "score"),
    [
        (0.5, 0.5),
        (3, 3.0),
        (-7.25, -7.25),
        (120.0, 120.0),
        ("0.25", 0.25),
        (None, None),
        ("high", None),
        (True, None),
        ("nan", None),
        ([1], None),
        ("1e999", None),
    ],
)
def test_a_score_of_any_range_is_kept_and_anything_else_is_none(
    server: LocalServer, client: KnowledgeSDKClient, value: object, score: float | None
) -> None:
    hit = only(found(directly, server, client, [{**HIT, "score": value}]))
    assert hit.score == score
    assert ("score" in hit.metadata) == (score is None and value is not None)  # what cannot be read is kept


def test_hits_keep_the_order_of_the_service_whatever_their_scores(
    call: Call, server: LocalServer, client: KnowledgeSDKClient
) -> None:
    body = [{"content": "a", "score": 0.1}, {"content": "b"}, {"content": "c", "score": 9}]
    assert found(call, server, client, body).texts == ["a", "b", "c"]


def test_metadata_holds_what_else_was_sent_and_no_embedding(
    call: Call, server: LocalServer, client: KnowledgeSDKClient
) -> None:
    body = [
        {
            **HIT,
            "category": "Pricing",
            "extractedAt": "2025-03-20T14:32:00Z",
            "url": "https://example.com/other",
            "embedding": [0.1],
            "metadata": {"lang": "en", "category": "nested", "embedding": [0.2]},
            "unknown": {"deep": [1, 2]},
        }
    ]
    assert only(found(call, server, client, body)) == SearchHit(
        id="ki_1",
        text="Team costs 20.",
        title="Plans",
        source="https://example.com/plans",
        score=0.87,
        metadata={
            "lang": "en",
            "category": "Pricing",
            "metadata.category": "nested",
            "extractedAt": "2025-03-20T14:32:00Z",
            "url": "https://example.com/other",
            "unknown": {"deep": [1, 2]},
        },
    )


def test_metadata_that_is_no_object_is_kept_under_its_name(
    call: Call, server: LocalServer, client: KnowledgeSDKClient
) -> None:
    assert only(found(call, server, client, [{"content": "x", "metadata": "free text"}])).metadata == {
        "metadata": "free text"
    }


# Total, query, limit


@pytest.mark.parametrize(
    ("envelope", "query", "total"),
    [({"query": "PLANS", "total": 99}, "PLANS", 99), ({}, "plans", 1), ({"query": None, "total": "many"}, "plans", 1)],
)
def test_total_and_query_fall_back_to_what_is_known(
    server: LocalServer, client: KnowledgeSDKClient, envelope: dict[str, object], query: str, total: int
) -> None:
    results = found(directly, server, client, {"hits": [HIT], **envelope})
    assert (results.query, results.total) == (query, total)


def test_more_hits_than_asked_for_are_cut_and_fewer_are_fine(
    call: Call, server: LocalServer, client: KnowledgeSDKClient
) -> None:
    body = [{"content": text} for text in "abc"]
    assert found(call, server, client, body, limit=2).texts == ["a", "b"]
    assert found(call, server, client, body, limit=5).texts == ["a", "b", "c"]


# Errors


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"statusCode": 400, "error": "Bad Request", "message": "query is too long"}, "query is too long"),
        ({"statusCode": 400, "error": "Bad Request"}, "Bad Request"),
        (b"no JSON at all", "no JSON at all"),
        (b"<html>oops</html>", "Bad Request"),
        (["odd"], "odd"),
        (b"", "Bad Request"),
    ],
)
def test_an_error_body_of_any_kind_is_told(
    server: LocalServer, client: KnowledgeSDKClient, body: object, said: str
) -> None:
    raised = fails(directly, server, client, Fault(status=400, body=body))
    assert str(raised).startswith(f"KnowledgeSDK answered 400: {said} (request id req_1)")
    assert (raised.status, raised.request_id) == (400, "req_1")


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, errors.BadRequest), (422, errors.BadRequest), (401, errors.Unauthorized), (403, errors.Unauthorized)],
)
def test_refused_requests_are_not_tried_again(
    server: LocalServer, client: KnowledgeSDKClient, status: int, error: type[Exception]
) -> None:
    assert type(fails(directly, server, client, Fault(status=status))) is error
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [404, 405, 410, 501])
def test_a_switched_off_search_is_an_error_with_advice_and_not_an_empty_result(
    server: LocalServer, client: KnowledgeSDKClient, status: int
) -> None:
    raised = fails(directly, server, client, Fault(status=status))
    assert type(raised) is errors.SearchUnavailable
    assert "search may be switched off on the server, or base_url may point elsewhere" in str(raised)
    assert f"(called: POST {server.url}/v1/search)" in str(raised)
    assert len(server.requests) == 1


def test_a_switched_off_search_gives_nothing_and_a_warning_only_when_asked_to(
    call: Call, server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = KnowledgeSDKClient(KEY, base_url=server.url, empty_when_unavailable=True)
    with server.failing(Fault(status=404)):
        assert call(client.search, "plans") == SearchResults((), "plans", 0)
    assert [record.levelname for record in caplog.records if record.name == "ksdk_rerank"] == ["WARNING"]
    assert type(fails(call, server, client, Fault(status=401))) is errors.Unauthorized


@pytest.mark.parametrize("retry_after", ["0.2", formatdate(0, usegmt=True)])
def test_a_rate_limit_is_waited_out(server: LocalServer, client: KnowledgeSDKClient, retry_after: str) -> None:
    with server.failing(Fault(status=429, headers={"Retry-After": retry_after}), times=1):
        assert directly(client.search, "plans").texts == ["Team costs 20."]
    assert len(server.requests) == 2


def test_a_rate_limit_longer_than_the_deadline_is_raised_with_its_wait(
    call: Call, server: LocalServer, client: KnowledgeSDKClient
) -> None:
    raised = fails(call, server, client, Fault(status=429, headers={"Retry-After": "60"}))
    assert (type(raised), raised.retry_after) == (errors.RateLimited, 60.0)
    assert "send fewer requests" in str(raised)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 522, 524])
def test_server_errors_get_two_more_attempts(server: LocalServer, client: KnowledgeSDKClient, status: int) -> None:
    raised = fails(directly, server, client, Fault(status=status, body=b"<html>cloud</html>"))
    assert (type(raised), raised.status) == (errors.ServerError, status)
    assert len(server.requests) == 3


def test_time_outs_and_broken_connections_are_different_errors(call: Call, server: LocalServer) -> None:
    client = KnowledgeSDKClient(KEY, base_url=server.url, timeout=0.4)
    assert type(fails(call, server, client, Fault(delay=9))) is errors.TimedOut
    assert type(fails(call, server, client, Fault(reset=True))) is errors.ConnectionFailed


def test_a_long_error_body_is_trimmed(call: Call, server: LocalServer, client: KnowledgeSDKClient) -> None:
    assert len(fails(call, server, client, Fault(status=400, body=b"y" * 9000)).body) == 500


# Against the stand-in


@pytest.mark.parametrize("shape", ["hits", "results", "items", "list", "stored"])
def test_every_shape_of_the_stand_in_is_read(knowledgesdk_stand_in: Callable[..., Any], shape: str) -> None:
    stand_in = knowledgesdk_stand_in("examples/knowledge_base", shape=shape)
    results = directly(KnowledgeSDKClient(stand_in.api_key, base_url=stand_in.base_url).search, "rotate an API key", 5)
    assert len(results) == 5
    assert "rotate-an-api-key.md" in str(results[0].source)
    assert all(hit.text and hit.id and hit.title for hit in results)
    assert all("embedding" not in hit.metadata for hit in results)


def test_a_wrong_key_is_refused_by_the_stand_in(call: Call, knowledgesdk_stand_in: Callable[..., Any]) -> None:
    stand_in = knowledgesdk_stand_in("examples/knowledge_base")
    with pytest.raises(errors.Unauthorized, match="check the API key"):
        call(KnowledgeSDKClient("sk_ks_wrong", base_url=stand_in.base_url).search, "rotate")
