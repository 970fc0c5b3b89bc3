"""What a status means, and that nothing which happens to its body changes that."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any

import httpx
import pytest

from ksdk_rerank import Fallback, TEIReranker, Timeout, errors
from ksdk_rerank._transport import retry
from ksdk_rerank._transport.failed_replies import retry_after_of
from ksdk_rerank._transport.service import HttpService
from ksdk_rerank._transport.statuses import meaning_of
from ksdk_rerank.testing import Fault, LocalServer, Reply

Call = Callable[..., Any]


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(lambda request: Reply.json({})) as server:
        yield server


@pytest.fixture(autouse=True)
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_backoff", lambda state: 0.01)


def fails(server: LocalServer, fault: Fault, *, call: Call | None = None, **options: Any) -> Any:
    """The error that a call to a server with `fault` ends in."""
    post = HttpService("Example", **{"timeout": 20.0, "retries": 0, **options}).post
    with server.failing(fault), pytest.raises(errors.ServiceError) as caught:
        call(post, server.url, {}) if call else post(server.url, {})
    return caught.value


FINAL = {
    400: (errors.BadRequest, "correct it"),
    401: (errors.Unauthorized, "check the API key"),
    402: (errors.QuotaExceeded, "check the account's balance and plan"),
    403: (errors.Unauthorized, "check the API key"),
    404: (errors.NotFound, "check base_url and the model's name"),
    405: (errors.NotFound, "does not accept POST; check base_url"),
    406: (errors.NotFound, "does not offer JSON; check base_url"),
    407: (errors.Unauthorized, "a proxy asks for a user name and password"),
    410: (errors.NotFound, "this URL was retired"),
    411: (errors.BadRequest, "check the proxies"),
    412: (errors.BadRequest, "see its documentation for this status"),
    413: (errors.BadRequest, "fewer or shorter documents"),
    414: (errors.NotFound, "check base_url"),
    415: (errors.NotFound, "does not accept JSON; check base_url"),
    416: (errors.BadRequest, "see its documentation"),
    417: (errors.BadRequest, "see its documentation"),
    418: (errors.NotFound, "check base_url"),
    422: (errors.BadRequest, "correct it"),
    426: (errors.NotFound, "another protocol; check base_url and its https://"),
    428: (errors.BadRequest, "see its documentation"),
    431: (errors.BadRequest, "the headers are too large"),
    451: (errors.Unauthorized, "for legal reasons"),
    455: (errors.BadRequest, "see its documentation"),
    498: (errors.BadRequest, "rejects a word in the query or a document"),
    501: (errors.NotFound, "check base_url"),
}
PASSING = {
    408: (errors.TimedOut, "took too long to arrive"),
    409: (errors.ServerError, "busy; try again later"),
    421: (errors.ServerError, "the wrong server; try again"),
    423: (errors.ServerError, "locked; try again later"),
    424: (errors.ServerError, "try again later"),
    425: (errors.ServerError, "try again later"),
    429: (errors.RateLimited, "send fewer requests"),
    499: (errors.ServerError, "cancelled in transit; try again"),
    500: (errors.ServerError, "try again later"),
    **dict.fromkeys((502, 503, 504, 520, 524), (errors.ServerError, "try again later")),
    529: (errors.ServerError, "try again later"),
}


@pytest.mark.parametrize("status", FINAL)
def test_a_status_that_will_not_change_is_told_at_once_with_advice_that_fits(server: LocalServer, status: int) -> None:
    expected, advice = FINAL[status]
    error = fails(server, Fault(status=status), retries=2)
    assert type(error) is expected
    assert (error.status, error.service, error.request_id, error.retryable) == (status, "Example", "req_1", False)
    assert str(error).startswith(f"Example answered {status}: ")
    assert error.transient is (status == 402)
    assert advice in str(error).rpartition(" (request id ")[2]
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", PASSING)
def test_a_status_that_may_pass_is_asked_again(server: LocalServer, status: int) -> None:
    expected, advice = PASSING[status]
    error = fails(server, Fault(status=status), retries=1)
    assert type(error) is expected
    assert (error.status, error.transient) == (status, True)
    assert advice in str(error).rpartition(" (request id ")[2]
    assert len(server.requests) == 2


def test_advice_about_the_address_is_for_statuses_about_the_address() -> None:
    about_it = {status for status in range(400, 500) if "base_url" in meaning_of(status, "", retry_after=None)[1]}
    assert about_it == {404, 405, 406, 410, 414, 415, 418, 421, 426}


OPENAI = {"error": {"message": "You exceeded your current quota, see billing", "type": "insufficient_quota"}}
# What services document, or are known to say, about a used-up quota with another status than 402.
SPENT = {
    "OpenAI's code": (429, OPENAI),
    "the code alone": (429, {"error": "insufficient_quota"}),
    "the code in one word": (429, {"error": {"code": "insufficientQuota", "message": "no"}}),
    "Jina's balance": (403, {"code": "AUTHZ_INSUFFICIENT_BALANCE", "detail": "Insufficient account balance"}),
    "Jina's plan": (403, {"code": "AUTHZ_RESOURCE_LIMIT_EXCEEDED", "detail": "Resource limit exceeded for your plan"}),
    "Cohere's trial key": (
        429,
        {
            "message": "You are using a Trial key, which is limited to 1000 API calls / month. You can continue to use"
            " the Trial key for free or upgrade to a Production key with higher rate limits"
        },
    ),
    "a monthly quota": (429, {"statusCode": 429, "message": "Monthly quota exceeded. Try again next month"}),
    "a quota": (429, {"message": "quota exceeded"}),
    "a quota, forbidden": (403, {"message": "Quota exceeded"}),
    "a balance, forbidden": (403, b"Your account balance is insufficient"),
    "a daily quota": (429, {"message": "Quota exceeded: 500 requests per day"}),
}
NOT_SPENT = {
    "Cohere's trial key, by the minute": (
        429,
        {"message": "You are using a Trial key, which is limited to 40 API calls / minute."},
        errors.RateLimited,
    ),
    "a quota per minute": (429, {"message": "Quota exceeded for requests per minute"}, errors.RateLimited),
    "a quota that comes back": (
        429,
        {"message": "You exceeded your current quota, see billing. Please retry in 34.2s."},
        errors.RateLimited,
    ),
    "Jina's rate": (
        429,
        {
            "code": "RATE_TOKEN_LIMIT_EXCEEDED",
            "detail": "Token rate limit exceeded: 1,010,000/1,000,000 tokens per minute",
        },
        errors.RateLimited,
    ),
    "a permission": (403, {"message": "This key may not use this model"}, errors.Unauthorized),
    "another status": (400, {"message": "no document may say insufficient_quota"}, errors.BadRequest),
}


@pytest.mark.parametrize(("status", "body"), SPENT.values(), ids=SPENT)
def test_a_quota_that_is_used_up_is_that_whatever_the_status(server: LocalServer, status: int, body: object) -> None:
    error = fails(server, Fault(status=status, body=body), retries=2)
    assert type(error) is errors.QuotaExceeded
    assert error.status == status
    assert str(error).endswith("; check the account's balance and plan, or wrap the reranker in a Fallback")
    assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "body", "expected"), NOT_SPENT.values(), ids=NOT_SPENT)
def test_a_limit_that_passes_is_no_used_up_quota(
    server: LocalServer, status: int, body: object, expected: type[errors.ServiceError]
) -> None:
    assert type(fails(server, Fault(status=status, body=body))) is expected


def test_a_quota_with_a_time_to_come_back_is_a_rate_limit_unless_a_code_says_otherwise(
    call: Call, server: LocalServer
) -> None:
    soon = {"retry-after": "0"}
    limited = fails(
        server, call=call, fault=Fault(status=429, body={"message": "quota exceeded"}, headers=soon), retries=1
    )
    assert type(limited) is errors.RateLimited
    assert len(server.requests) == 2
    assert type(fails(server, call=call, fault=Fault(status=429, body=OPENAI, headers=soon))) is errors.QuotaExceeded


def test_a_fallback_moves_on_when_the_quota_is_used_up(call: Call, server: LocalServer) -> None:
    reranker = Fallback([TEIReranker(server.url), "input-order"])
    with server.failing(Fault(status=402, body={"message": "insufficient balance"})):
        ranking = call(reranker.rank, "query", ["document"])
    assert [failure.error for failure in ranking.failures] == ["QuotaExceeded"]
    assert len(server.requests) == 1


WORDS = b'{"message": "no such key, sorry"}'
WAIT = {"retry-after": "1800", "x-request-id": "req_7"}
BODIES = {
    "cut": Fault(body=WORDS, cut_after=9),
    "reset": Fault(body=WORDS, cut_after=9, reset=True),
    "reset at once": Fault(body=WORDS, cut_after=0, reset=True),
    "stalled": Fault(body=WORDS, drip_body=60.0),
    "dripping": Fault(body=WORDS * 100, drip_body=0.05),
    "no gzip": Fault(body=WORDS, headers={"content-encoding": "gzip"}),
    "no gzip, and binary": Fault(body=b"\xff\xfe\x00", headers={"content-encoding": "gzip"}),
    "gzip, cut": Fault(body=gzip.compress(WORDS), headers={"content-encoding": "gzip"}, cut_after=20),
    "an encoding that nobody knows": Fault(body=b"\x1b\x0a\x80\xff", headers={"content-encoding": "br"}),
    "an encoding that is no ASCII": Fault(body=WORDS, headers={"content-encoding": "\xe9"}),
    "an encoding that nobody knows, and plain": Fault(body=WORDS, headers={"content-encoding": "x-rot13"}),
    "several encodings": Fault(body=WORDS, headers={"content-encoding": "gzip, deflate, gzip"}),
    "endless": Fault(body=b"x", size=200_000_000),
    "empty": Fault(body=b""),
    "not UTF-8": Fault(body=b'{"message": "caf\xe9"}'),
    "nested without end": Fault(body=b"[" * 50_000),
    "a web page": Fault(body=b"<html><body>no</body></html>", headers={"content-type": "text/html"}),
}
STATUSES = {401: errors.Unauthorized, 404: errors.NotFound, 429: errors.RateLimited, 503: errors.ServerError}


def spoilt(body: Fault, status: int, headers: dict[str, str]) -> Fault:
    return Fault(
        status=status,
        body=body.body,
        headers={**headers, **body.headers},
        size=body.size,
        drip_body=body.drip_body,
        cut_after=body.cut_after,
        reset=body.reset,
    )


@pytest.mark.parametrize(
    ("body", "status"),
    [(name, 401) for name in BODIES] + [(name, status) for name in ("cut", "stalled") for status in (404, 429, 503)],
)
def test_the_status_decides_whatever_happens_to_the_body(server: LocalServer, body: str, status: int) -> None:
    error = fails(server, spoilt(BODIES[body], status, WAIT), timeout=Timeout(read=1.0, total=1.2))
    assert type(error) is STATUSES[status]
    assert (error.status, error.retry_after, error.request_id) == (status, 1800.0, "req_7")
    assert str(error).startswith(f"Example answered {status}: ")
    assert "(request id req_7, asks to wait 1800 s)" in str(error)


@pytest.mark.parametrize("name", ["no gzip", "an encoding that nobody knows, and plain", "several encodings"])
def test_words_that_can_be_read_are_quoted_whatever_the_headers_say(server: LocalServer, name: str) -> None:
    assert "401: no such key, sorry" in str(fails(server, spoilt(BODIES[name], 401, {})))


def test_what_came_of_a_body_that_broke_is_quoted(call: Call, server: LocalServer) -> None:
    error = fails(server, call=call, fault=Fault(status=401, body=b"no such key, and more", cut_after=11))
    assert "Example answered 401: no such key (request id" in str(error)
    assert error.body == "no such key"


def test_a_wrong_key_stays_a_wrong_key_for_a_fallback_when_its_body_is_cut(call: Call, server: LocalServer) -> None:
    reranker = Fallback([TEIReranker(server.url), "input-order"])
    with server.failing(spoilt(BODIES["cut"], 401, {})), pytest.raises(errors.Unauthorized):
        call(reranker.rank, "query", ["document"])


def test_the_body_of_an_error_gets_a_part_of_the_time_only(
    call: Call, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ksdk_rerank._transport.service._REFUSAL_SECONDS", 0.1)
    error = fails(server, call=call, fault=spoilt(BODIES["stalled"], 401, {}), timeout=600.0)
    assert type(error) is errors.Unauthorized


def test_a_deadline_that_passes_while_the_body_of_an_error_is_read_leaves_the_status(server: LocalServer) -> None:
    # A quarter of the time is for the body of an error.
    stalled = Fault(status=401, body=WORDS, delay=0.8, drip_body=60.0, headers=WAIT)
    for _ in range(3):
        error = fails(server, stalled, timeout=1.0)
        if not isinstance(error, errors.TimedOut):  # a loaded machine may have sent the status too late
            break
    assert type(error) is errors.Unauthorized
    assert (error.status, error.retry_after) == (401, 1800.0)


def test_a_deadline_that_passes_over_an_error_of_a_split_call_leaves_the_status(server: LocalServer) -> None:
    reranker = TEIReranker(server.url, max_documents_per_request=1, timeout=1.5, retries=0)
    stalled = Fault(status=401, body=WORDS, delay=1.15, drip_body=60.0)
    for _ in range(3):
        with server.failing(stalled), pytest.raises(errors.ServiceError) as raised:
            reranker.rank("query", [f"document {number}" for number in range(20)])
        if raised.type is not errors.TimedOut:  # a loaded machine may have sent the status too late
            break
    assert raised.type is errors.Unauthorized


def test_one_deadline_covers_all_parts_of_a_split_call(call: Call, server: LocalServer) -> None:
    reranker = TEIReranker(server.url, max_documents_per_request=1, timeout=0.5, retries=5)
    with server.failing(Fault(delay=0.2, body=[{"index": 0, "score": 0.5}])), pytest.raises(errors.TimedOut):
        call(reranker.rank, "query", [f"document {number}" for number in range(80)])  # ten rounds of eight
    assert len(server.requests) < 80


def test_a_cancelled_call_is_cancelled_also_while_the_body_of_an_error_is_read(server: LocalServer) -> None:
    async def main() -> None:
        with server.failing(Fault(status=503, body=WORDS, drip_body=60.0)):
            task = asyncio.create_task(HttpService("Example", timeout=60.0).apost(server.url, {}))
            while not server.requests:  # noqa: ASYNC110 - the server is on another thread
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)  # for the status and some of the body
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_a_client_that_has_read_the_body_already_gives_its_words(call: Call) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, json={"message": "no such key"}, headers={"x-request-id": "r"})

    service = HttpService("Example", client_factory=lambda: httpx.AsyncClient(transport=httpx.MockTransport(answer)))
    with pytest.raises(errors.Unauthorized, match="answered 401: no such key"):
        call(service.post, "http://example.invalid", {})


ZSTANDARD = b"\x28\xb5\x2f\xfd\x20\x02\x11\x00\x00{}"  # the JSON object {} in a single raw block (RFC 8878)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("br", b"\x1b\x0a\x80\xff"),
        ("x-Lizard, gzip", gzip.compress(b"\x1b\x0a\x80\xff")),
        ("zstd", ZSTANDARD),
        ("gzip, gzip", gzip.compress(gzip.compress(b"{}"))),
    ],
    ids=["br", "gzip of an unknown one", "zstd", "gzip twice"],  # not the time in gzip's header
)
def test_encodings_in_which_a_few_bytes_may_become_gigabytes_are_not_decoded(
    server: LocalServer, encoding: str, body: bytes
) -> None:
    error = fails(server, Fault(body=body, headers={"content-encoding": encoding}))
    assert server.requests[0].headers["accept-encoding"] == "gzip, deflate"
    assert type(error) is errors.BadReply
    assert error.status == 200
    assert f"in the encoding {encoding.lower()}, which was not requested" in str(error)


def test_a_gzipped_reply_is_read(call: Call, server: LocalServer) -> None:
    packed = Fault(body=gzip.compress(b'{"n": 1}'), headers={"content-encoding": "GZIP"})
    with server.failing(packed):
        assert call(HttpService("Example").post, server.url, {}).data == {"n": 1}


def test_a_body_that_is_not_in_its_encoding_is_named(server: LocalServer) -> None:
    error = fails(server, Fault(body=b"no gzip", headers={"content-encoding": "gzip"}))
    assert type(error) is errors.BadReply
    assert error.status == 200
    assert "sent a body that cannot be decoded as gzip" in str(error)


REDIRECTS = {
    "a whole address": ("https://search.example.com/v2/rerank", "https://search.example.com/v2/rerank"),
    "with secrets": ("https://u:s3cret@search.example.com/v2?key=s3cret#s3cret", "https://search.example.com/v2"),
    "a path": ("/v2/rerank?key=s3cret", "{server}/v2/rerank"),
    "another host": ("//search.example.com:8443/", "http://search.example.com:8443/"),
    "nothing to be read": ("http://[::1", "an invalid address"),
    "a port that is none": ("https://u:s3cret@host:port/", "an invalid address"),
}


@pytest.mark.parametrize(("location", "shown"), REDIRECTS.values(), ids=REDIRECTS)
def test_a_redirect_says_where_to(server: LocalServer, location: str, shown: str) -> None:
    for status in (301, 302, 303, 307, 308):
        error = fails(server, Fault(status=status, headers={"location": location}))
        assert type(error) is errors.Redirected
        assert error.status == status
        assert f"redirects to {shown.replace('{server}', server.url)} (request id" in str(error)
        assert "set base_url to the address it redirects to" in str(error)
        assert "s3cret" not in str(error)


def test_a_redirect_to_nowhere_is_a_redirect(server: LocalServer) -> None:
    error = fails(server, Fault(status=307))
    assert type(error) is errors.Redirected
    assert "Example answered 307: Temporary Redirect" in str(error)


@pytest.mark.parametrize("location", ["https://search.example.com/v2?key=s3cret", "http://[::1"])
def test_a_redirect_is_one_with_a_client_of_the_user_s_too(server: LocalServer, location: str) -> None:
    fault = Fault(status=307, headers={"location": location})
    error = fails(server, fault, client_factory=httpx.AsyncClient)
    assert type(error) is errors.Redirected
    assert "redirects to " in str(error)
    assert "s3cret" not in str(error)


@pytest.fixture(params=["Asia/Tokyo", "America/New_York", "UTC"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


FORMS = {
    "as sent today": lambda at: formatdate(at, usegmt=True),
    "asctime": lambda at: time.asctime(time.gmtime(at)),
    "RFC 850": lambda at: time.strftime("%A, %d-%b-%y %H:%M:%S GMT", time.gmtime(at)),
    "with an offset of unknown zone": lambda at: formatdate(at),
}


@pytest.mark.parametrize("written", FORMS.values(), ids=FORMS)
def test_a_date_to_come_back_at_is_utc_in_every_form(written: Callable[[float], str], zone: str) -> None:
    seconds = retry_after_of(httpx.Headers({"retry-after": written(time.time() + 100)}))
    assert seconds is not None
    assert 90 < seconds < 101


@pytest.mark.parametrize("wrong_by", [-3600.0, 3600.0])
def test_a_clock_that_is_wrong_here_does_not_change_the_wait(wrong_by: float) -> None:
    there = time.time() - wrong_by
    dates = {"date": formatdate(there, usegmt=True), "retry-after": formatdate(there + 100, usegmt=True)}
    assert retry_after_of(httpx.Headers(dates)) == 100.0


@pytest.mark.parametrize("value", ["soon", "", "nan", "inf", "1e999", "Wed, 99 Nov", "5, 10"])
def test_a_time_to_come_back_at_that_cannot_be_read_is_none(value: str) -> None:
    assert retry_after_of(httpx.Headers({"retry-after": value})) is None
