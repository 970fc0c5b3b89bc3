"""Every leaf over HTTP against everything that a service can do wrong: the right error, in time, and nothing lost.

The faults come from a real server on 127.0.0.1, through the real httpx and, for Cohere, the real SDK.
"""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import random
import socket
import ssl
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from email.utils import formatdate
from typing import Any

import pytest
import trustme

from ksdk_rerank import Fallback, Timeout, errors
from ksdk_rerank.results import Ranking
from ksdk_rerank.testing import Fault

Call = Callable[..., Any]

QUERY = "How often do signing keys rotate?"
DOCUMENTS = ["0.0023 piano keys", "0.9412 signing keys", "0.3175 keys after a leak"]
RIGHT = [(1, 0.9412), (2, 0.3175), (0, 0.0023)]
NOW = {"retry-after": "0"}  # so that a second attempt comes at once
SLACK = 0.5  # seconds that a deadline may be overrun


def found(ranking: Ranking) -> list[tuple[int, float | None]]:
    return [(ranked.index, ranked.raw_score) for ranked in ranking]


# (what the server does, the error, how many requests with retries=1)
REFUSALS = {
    "400": (Fault(status=400), errors.BadRequest, 1),
    "401": (Fault(status=401), errors.Unauthorized, 1),
    "402": (Fault(status=402, body={"detail": "Insufficient account balance"}), errors.QuotaExceeded, 1),
    "403": (Fault(status=403), errors.Unauthorized, 1),
    "403 without balance": (Fault(status=403, body={"code": "AUTHZ_INSUFFICIENT_BALANCE"}), errors.QuotaExceeded, 1),
    "404": (Fault(status=404), errors.NotFound, 1),
    "405": (Fault(status=405), errors.NotFound, 1),
    "408": (Fault(status=408, headers=NOW), errors.TimedOut, 2),
    "409": (Fault(status=409, headers=NOW), errors.ServerError, 2),
    "410": (Fault(status=410), errors.NotFound, 1),
    "413": (Fault(status=413), errors.BadRequest, 1),
    "422": (Fault(status=422), errors.BadRequest, 1),
    "425": (Fault(status=425, headers=NOW), errors.ServerError, 2),
    "431": (Fault(status=431), errors.BadRequest, 1),
    "451": (Fault(status=451), errors.Unauthorized, 1),
    "498": (Fault(status=498), errors.BadRequest, 1),
    "499": (Fault(status=499, headers=NOW), errors.ServerError, 2),
    "401 with a body that is cut": (Fault(status=401, cut_after=5), errors.Unauthorized, 1),
    "401 with a body that stalls": (Fault(status=401, drip_body=60.0), errors.Unauthorized, 1),
    "404 with a body that is not gzip": (
        Fault(status=404, body=b"not gzip", headers={"content-encoding": "gzip"}),
        errors.NotFound,
        1,
    ),
    "307 to nowhere": (Fault(status=307, headers={"location": "http://[::1"}), errors.Redirected, 1),
    "307 to elsewhere": (Fault(status=307, headers={"location": "http://127.0.0.1:9/"}), errors.Redirected, 1),
    "429": (Fault(status=429), errors.RateLimited, 2),
    "429 without quota": (Fault(status=429, body={"error": {"code": "insufficient_quota"}}), errors.QuotaExceeded, 1),
    "429 with Retry-After": (Fault(status=429, headers=NOW), errors.RateLimited, 2),
    "429 that asks for an hour": (Fault(status=429, headers={"retry-after": "3600"}), errors.RateLimited, 1),
    "429 until a date in an hour": (
        Fault(status=429, headers={"retry-after": formatdate(time.time() + 3600, usegmt=True)}),
        errors.RateLimited,
        1,
    ),
    "500": (Fault(status=500, headers=NOW), errors.ServerError, 2),
    "500 without a body": (Fault(status=500, body=b"", headers=NOW), errors.ServerError, 2),
    "502 with a web page": (
        Fault(status=502, body=b"<html><h1>Bad Gateway</h1></html>", headers={**NOW, "content-type": "text/html"}),
        errors.ServerError,
        2,
    ),
    "503": (Fault(status=503, headers=NOW), errors.ServerError, 2),
    "503 with a body that is reset": (
        Fault(status=503, cut_after=5, reset=True, headers=NOW),
        errors.ServerError,
        2,
    ),
    "504": (Fault(status=504, headers=NOW), errors.ServerError, 2),
    "200 with truncated JSON": (Fault(body=b'{"results": [{"index": 0, "rel'), errors.BadReply, 1),
    "200 with a web page": (
        Fault(body=b"<html>Sign in</html>", headers={"content-type": "text/html"}),
        errors.BadReply,
        1,
    ),
    "200 with an empty body": (Fault(body=b""), errors.BadReply, 1),
    "200 with 100 MB": (Fault(body=b" ", size=100_000_000), errors.BadReply, 1),
    "200 with a body that is not gzip": (
        Fault(body=b"not gzip", headers={"content-encoding": "gzip"}),
        errors.BadReply,
        1,
    ),
    "200 with JSON nested without end": (Fault(body=b"[" * 100_000), errors.BadReply, 1),
}


@pytest.mark.parametrize(("fault", "expected", "requests"), REFUSALS.values(), ids=REFUSALS)
def test_a_failure_is_the_right_error(
    call: Call, provider: Any, fault: Fault, expected: type[errors.ServiceError], requests: int
) -> None:
    with provider.reranker(timeout=5.0, retries=1) as leaf, provider.server.failing(fault):
        started = time.monotonic()
        with pytest.raises(expected) as raised:
            call(leaf.rank, QUERY, DOCUMENTS)
    error = raised.value
    assert type(error) is expected
    assert len(provider.server.requests) == requests
    assert time.monotonic() - started < 5.0
    assert error.service
    assert error.service in str(error)
    if fault.status is not None:
        assert error.status == fault.status
        assert str(fault.status) in str(error)
        assert f"request id {error.request_id}" in str(error)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("NO_PROXY", "127.0.0.1,[::1]"), ("ALL_PROXY", "http://u:s3cret@proxy:port"), ("SSL_CERT_FILE", "/no/such/file")],
)
def test_an_environment_that_cannot_be_used_moves_a_fallback_on(
    call: Call, provider: Any, variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with Fallback([provider.reranker(timeout=5.0, retries=2), "input-order"]) as reranker:
        ranking = call(reranker.rank, QUERY, DOCUMENTS)
    assert ranking.reranked_by == "input-order"
    assert [failure.error for failure in ranking.failures] == ["InvalidEnvironment"]
    assert f"{variable} is " in ranking.failures[0].message
    assert "s3cret" not in ranking.failures[0].message
    assert provider.server.requests == []


@pytest.mark.parametrize("key", ["x", "key", "123", "0"])
def test_a_placeholder_for_a_key_changes_nothing(call: Call, provider: Any, key: str) -> None:
    with provider.reranker(api_key=key, timeout=5.0) as leaf:
        assert found(call(leaf.rank, QUERY, DOCUMENTS)) == RIGHT


BROKEN = {
    "reset before the reply": Fault(reset=True),
    "reset mid-body": Fault(cut_after=12, reset=True),
    "closed before the reply": Fault(cut_after="request"),
    "closed mid-body": Fault(cut_after=12),
}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
def test_a_connection_that_breaks_is_a_failed_connection(call: Call, provider: Any, fault: Fault) -> None:
    with (
        provider.reranker(timeout=5.0, retries=0) as leaf,
        provider.server.failing(fault),
        pytest.raises(errors.ConnectionFailed, match="check the address and the network"),
    ):
        call(leaf.rank, QUERY, DOCUMENTS)
    assert len(provider.server.requests) == 1


@pytest.mark.parametrize(
    "fault",
    [Fault(status=429, headers=NOW), Fault(status=503, headers=NOW), Fault(reset=True)],
    ids=["429", "503", "reset"],
)
def test_a_failure_that_passes_costs_nothing_but_time(call: Call, provider: Any, fault: Fault) -> None:
    with provider.reranker(timeout=5.0, retries=2) as leaf, provider.server.failing(fault, times=1):
        ranking = call(leaf.rank, QUERY, DOCUMENTS)
    assert found(ranking) == RIGHT
    assert len(provider.server.requests) == 2


def test_a_provider_s_own_words_are_in_the_error(call: Call, provider: Any) -> None:
    with (
        provider.reranker(timeout=5.0) as leaf,
        provider.server.failing(Fault(status=422, body=provider.wire["error"])),
        pytest.raises(errors.BadRequest) as raised,
    ):
        call(leaf.rank, QUERY, DOCUMENTS)
    assert provider.wire["said"] in str(raised.value)


def test_a_connection_refused_is_a_failed_connection(call: Call, provider: Any) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with provider.reranker(url, timeout=5.0, retries=0) as leaf, pytest.raises(errors.ConnectionFailed):
        call(leaf.rank, QUERY, DOCUMENTS)


def test_a_name_that_does_not_exist_is_a_failed_connection(call: Call, provider: Any) -> None:
    leaf = provider.reranker("http://ksdk-rerank.invalid", timeout=5.0, retries=0)
    with leaf, pytest.raises((errors.ConnectionFailed, errors.TimedOut)) as raised:
        call(leaf.rank, QUERY, DOCUMENTS)
    assert raised.value.transient


@pytest.fixture(scope="module")
def untrusted() -> Iterator[str]:
    """A server with a certificate that nobody here trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    context.wrap_socket(connection, server_side=True)

    threading.Thread(target=serve, daemon=True).start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


def test_a_certificate_that_is_not_trusted_is_a_failed_connection(call: Call, provider: Any, untrusted: str) -> None:
    leaf = provider.reranker(untrusted, timeout=5.0, retries=0)
    with leaf, pytest.raises(errors.ConnectionFailed, match="CERTIFICATE_VERIFY_FAILED"):
        call(leaf.rank, QUERY, DOCUMENTS)


@pytest.fixture
def unanswered() -> Iterator[str]:
    """An address whose queue of connections is full, so that one more is not answered at all."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for connection in waiting:
            connection.close()


def test_a_connection_that_is_never_made_times_out(call: Call, provider: Any, unanswered: str) -> None:
    leaf = provider.reranker(unanswered, timeout=Timeout(connect=0.2, read=5.0, total=10.0), retries=0)
    started = time.monotonic()
    with leaf, pytest.raises(errors.TimedOut, match=r"no connection within 0\.2 s"):
        call(leaf.rank, QUERY, DOCUMENTS)
    assert time.monotonic() - started < 0.2 + SLACK


SLOW = {
    "a silent server": Fault(delay=10.0),
    "headers that drip": Fault(drip_headers=0.05),
    "a body that drips": Fault(drip_body=0.05),
    "a Retry-After within the deadline, again and again": Fault(status=503, headers={"retry-after": "0.1"}),
}


@pytest.mark.parametrize("fault", SLOW.values(), ids=SLOW)
def test_the_deadline_holds_whatever_the_server_does(call: Call, provider: Any, fault: Fault) -> None:
    with provider.reranker(timeout=0.2, retries=9) as leaf, provider.server.failing(fault):
        started = time.monotonic()
        with pytest.raises(errors.TimedOut if fault.status is None else (errors.TimedOut, errors.ServerError)):
            call(leaf.rank, QUERY, DOCUMENTS)
        assert time.monotonic() - started < 0.2 + SLACK


def test_a_read_that_takes_too_long_times_out_before_the_total(call: Call, provider: Any) -> None:
    leaf = provider.reranker(timeout=Timeout(read=0.2, total=10.0), retries=0)
    started = time.monotonic()
    with leaf, provider.server.failing(Fault(delay=10.0)), pytest.raises(errors.TimedOut, match=r"nothing for 0\.2 s"):
        call(leaf.rank, QUERY, DOCUMENTS)
    assert time.monotonic() - started < 0.2 + SLACK


# 200, valid JSON, and not to be believed
RESULTS: dict[str, list[tuple[object, object]]] = {
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


@pytest.mark.parametrize("results", RESULTS.values(), ids=RESULTS)
def test_results_that_cannot_be_trusted_are_a_bad_reply(
    call: Call, provider: Any, results: list[tuple[object, object]]
) -> None:
    with (
        provider.reranker(timeout=5.0) as leaf,
        provider.server.failing(Fault(body=provider.body(results))),
        pytest.raises(errors.BadReply, match=r"check that base_url points to|remove a limit") as raised,
    ):
        call(leaf.rank, QUERY, DOCUMENTS)
    assert raised.value.status == 200
    assert raised.value.body
    assert len(provider.server.requests) == 1


@pytest.mark.parametrize("body", [[], {}, 3, "x", None, True, [1], {"results": None}, {"results": {"0": 1}}, [[]]])
def test_json_of_another_shape_is_a_bad_reply(call: Call, provider: Any, body: object) -> None:
    sent = json.dumps(body).encode()
    failing = provider.server.failing(Fault(body=sent))
    with provider.reranker(timeout=5.0) as leaf, failing, pytest.raises(errors.BadReply):
        call(leaf.rank, QUERY, DOCUMENTS)


def test_the_documented_reply_is_read_whatever_else_is_in_it(call: Call, provider: Any) -> None:
    wire = provider.wire
    body = wire["reply"] if isinstance(wire["reply"], list) else {**wire["reply"], "usage": None, "meta": [1], "x": {}}
    with provider.reranker(timeout=5.0) as leaf, provider.server.failing(Fault(body=body)):
        ranking = call(leaf.rank, QUERY, DOCUMENTS)
    assert found(ranking) == RIGHT


def test_the_key_shows_up_nowhere(
    call: Call, provider: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "sentinel-4f1d2c"
    caplog.set_level(logging.DEBUG)
    leaf = provider.reranker(api_key=secret, timeout=5.0, retries=1)
    quoted = Fault(status=401, body={"message": f"{'x' * 480}the key {secret} is wrong"}, headers={"x-request-id": "r"})
    shown = [repr(leaf), str(leaf.parameters()), str(vars(leaf)), repr(pickle.dumps(leaf))]
    faults = [quoted, Fault(body={"echo": secret}), Fault(body=secret.encode()), Fault(reset=True), Fault(delay=9.0)]
    raised: list[BaseException] = []
    with leaf:
        call(leaf.rank, QUERY, DOCUMENTS)
        assert provider.server.requests[-1].headers["authorization"] == f"Bearer {secret}"
        for fault in faults:
            with provider.server.failing(fault), pytest.raises(errors.ServiceError) as caught:
                call(
                    (leaf if fault.delay == 0 else provider.reranker(api_key=secret, timeout=0.2)).rank,
                    QUERY,
                    DOCUMENTS,
                )
            raised.append(caught.value)
    for error in raised:
        shown += [str(error), repr(error), str(vars(error)), repr(pickle.dumps(error))]
        shown += "".join(traceback.format_exception(error)), *_locals_of_all_frames(error)
    shown += [record.getMessage() for record in caplog.records]
    assert [text for text in shown if secret in text] == []
    assert [text for text in shown if "sentinel" in text] == []  # nor half of it, where a text was cut


def _locals_of_all_frames(error: BaseException) -> Iterator[str]:
    seen: BaseException | None = error
    while seen is not None:
        for frame in traceback.TracebackException.from_exception(seen, capture_locals=True).stack:
            if frame.filename != __file__:
                yield str(frame.locals)
        seen = seen.__cause__ or seen.__context__


@pytest.mark.parametrize(
    ("name", "calls"), [("cohere", 200), ("infinity", 200), ("jina", 1000), ("tei", 200), ("vllm", 200)]
)
async def test_a_fifth_of_all_replies_failing_loses_no_document(
    name: str, calls: int, provider_named: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(20261123)
    provider = provider_named(name)
    faults = [
        Fault(status=500),
        Fault(status=503, headers=NOW),
        Fault(status=429),
        Fault(status=502, body=b"<html>"),
        Fault(reset=True),
        Fault(cut_after=9),
        Fault(body=b'{"results": [{"ind'),
        Fault(body=provider.body([(0, 0.1), (0, 0.2), (1, 0.3)])),
        Fault(body=provider.body([(True, 0.1), (0, 0.2), (2, 0.3)])),
    ]

    def plan() -> Iterator[Fault | None]:
        while True:
            yield chance.choice(faults) if chance.random() < 0.2 else None

    shuffled = [chance.sample(DOCUMENTS, len(DOCUMENTS)) for _ in range(calls)]
    async with Fallback([provider.reranker(timeout=20.0, retries=1), "input-order"]) as reranker:
        with provider.server.failing(plan()):
            rankings = await asyncio.gather(*(reranker.arank(QUERY, documents) for documents in shuffled))
    answered: Counter[str] = Counter()
    for documents, ranking in zip(shuffled, rankings, strict=True):
        answered[ranking.reranked_by] += 1
        assert Counter(ranked.document for ranked in ranking) == Counter(documents)
        assert all(documents[ranked.index] == ranked.document for ranked in ranking)
        if ranking.reranked_by == "input-order":
            assert [ranked.score for ranked in ranking] == [None] * 3
            assert [failure.reranker for failure in ranking.failures] == [reranker.rerankers[0].name]
        else:
            assert [ranked.raw_score for ranked in ranking] == [float(r.document.split()[0]) for r in ranking]
            assert ranking.failures == ()
    assert 0 < answered["input-order"] < calls / 2
    assert sum("answered instead" in record.getMessage() for record in caplog.records) == answered["input-order"]
