"""`HttpService`: deadlines, retries, errors and connections, against real servers on this machine."""

from __future__ import annotations

import asyncio
import copy
import pickle
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from ksdk_rerank import Timeout, errors
from ksdk_rerank._transport import connections, retry
from ksdk_rerank._transport.auth import ApiKey, HeaderKey
from ksdk_rerank._transport.connections import default_client
from ksdk_rerank._transport.service import HttpService
from ksdk_rerank.testing import Fault, LocalServer, Reply, Request

Call = Callable[..., Any]
KEY = "sentinel-key-4711"


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(lambda request: Reply.json({"echo": request.json()})) as server:
        yield server


@pytest.fixture(autouse=True)
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_backoff", lambda state: 0.01)


def service(**options: Any) -> HttpService:
    auth = HeaderKey(ApiKey(KEY, service="Example", variables=["EXAMPLE_KEY"]))
    return HttpService("Example", **{"auth": auth, "timeout": 5.0, **options})


def fails(server: LocalServer, fault: Fault, *, call: Call | None = None, **options: Any) -> Any:
    """The error that a call to a server with `fault` ends in."""
    post = service(**options).post
    with server.failing(fault), pytest.raises(errors.ServiceError) as caught:
        call(post, server.url, {}) if call else post(server.url, {})
    return caught.value


def test_the_body_goes_out_as_json_with_the_key_in_its_header(call: Call, server: LocalServer) -> None:
    reply = call(service().post, f"{server.url}/path", {"text": "grün \ud83d"})
    assert reply.data == {"echo": {"text": "grün ?"}}
    request = server.requests[0]
    assert (request.method, request.path) == ("POST", "/path")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("ksdk-rerank/")


def test_the_request_id_is_on_the_reply(call: Call, server: LocalServer) -> None:
    assert call(service().post, server.url, {}).request_id == "req_1"


def test_a_transient_failure_is_forgotten_once_an_attempt_succeeds(call: Call, server: LocalServer) -> None:
    faults = [Fault(status=503), Fault(reset=True), None]
    with server.failing(faults):
        assert call(service().post, server.url, {}).data == {"echo": {}}
    assert len(server.requests) == 3


def test_no_retries_means_one_attempt(server: LocalServer) -> None:
    fails(server, Fault(status=503), retries=0)
    assert len(server.requests) == 1


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds between attempts, which pass at once."""
    seconds: list[float] = []

    async def sleep(pause: float) -> None:
        seconds.append(pause)

    monkeypatch.setattr(retry, "asyncio", SimpleNamespace(sleep=sleep))
    return seconds


def test_retry_after_seconds_are_waited_for(call: Call, server: LocalServer, waits: list[float]) -> None:
    with server.failing(Fault(status=429, headers={"Retry-After": "0.6"}), times=1):
        call(service().post, server.url, {})
    assert waits == [pytest.approx(0.65, abs=0.05)]


def test_a_retry_after_date_is_waited_for(call: Call, server: LocalServer, waits: list[float]) -> None:
    date = formatdate(time.time() + 100, usegmt=True)
    with server.failing(Fault(status=503, headers={"Retry-After": date}), times=1):
        call(service(timeout=300.0).post, server.url, {})
    assert waits == [pytest.approx(95, abs=5.1)]


def test_a_retry_after_beyond_the_deadline_is_not_waited_for_but_told(
    call: Call, server: LocalServer, waits: list[float]
) -> None:
    raised = fails(server, Fault(status=429, headers={"Retry-After": "3600"}), call=call)
    assert waits == []
    assert raised.retry_after == 3600.0
    assert "asks to wait 3600 s" in str(raised)
    assert len(server.requests) == 1


@pytest.mark.parametrize("value", ["soon", "-5"])
def test_an_odd_retry_after_is_no_reason_to_fail_otherwise(server: LocalServer, value: str) -> None:
    raised = fails(server, Fault(status=429, headers={"Retry-After": value}), retries=1)
    assert raised.retry_after in (None, 0.0)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"message": "Invalid API key", "error": "Unauthorized"}, "Invalid API key"),
        ({"error": "Unauthorized"}, "Unauthorized"),
        ({"error": {"message": "no such model"}}, "no such model"),
        ({"detail": [{"msg": "field required"}, {"msg": "too long"}]}, "field required; too long"),
        (["odd", "list"], "odd; list"),
        (b"plain  text\nin two lines", "plain text in two lines"),
        (b"<html><h1>Bad gateway</h1></html>", "Bad Request"),
        (b"", "Bad Request"),
        ({"statusCode": 400}, "Bad Request"),
    ],
)
def test_an_error_says_what_the_service_said(server: LocalServer, body: object, said: str) -> None:
    raised = fails(server, Fault(status=400, body=body))
    assert str(raised).startswith(f"Example answered 400: {said} (request id req_1); ")


def test_a_long_error_body_is_trimmed(server: LocalServer) -> None:
    raised = fails(server, Fault(status=400, body=b"x" * 10_000))
    assert len(raised.body) == 500
    assert len(str(raised)) < 800


def test_an_error_body_without_end_is_not_read_to_the_end(server: LocalServer) -> None:
    raised = fails(server, Fault(status=500, body=b"x", size=200_000_000), retries=0)
    assert type(raised) is errors.ServerError


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (Fault(body=b"<html>login</html>"), "sent a body that is not JSON"),
        (Fault(body=b'{"cut": '), "sent a body that is not JSON"),
        (Fault(body=b"[" * 100_000), "sent a body that is not JSON"),
        (Fault(body=b"\xff\xfe\xfa"), "sent a body that is not JSON"),
        (Fault(body=b""), "sent an empty body"),
        (Fault(status=204), "sent an empty body"),
        (Fault(body=b"no gzip", headers={"content-encoding": "gzip"}), "cannot be decoded"),
        (Fault(body=b" ", size=100_000_000), "sent more than 32 MiB"),
    ],
)
def test_success_without_json_is_a_bad_reply(server: LocalServer, fault: Fault, what: str) -> None:
    raised = fails(server, fault)
    assert type(raised) is errors.BadReply
    assert what in str(raised)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "fault", [Fault(reset=True), Fault(cut_after="request"), Fault(cut_after=3), Fault(cut_after=3, reset=True)]
)
def test_a_broken_connection_is_tried_again_and_then_raised(call: Call, server: LocalServer, fault: Fault) -> None:
    raised = fails(server, fault, retries=1, call=call)
    assert type(raised) is errors.ConnectionFailed
    assert raised.status is None
    assert raised.__cause__ is not None
    assert len(server.requests) == 2


def test_a_refused_connection_and_an_unknown_host_are_connection_failures(call: Call) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        for address in (url, "http://no-such-host.invalid"):
            with pytest.raises(errors.ConnectionFailed, match="check the address and the network"):
                call(service(retries=1).post, address, {})


def test_a_silent_server_runs_into_the_read_time_out(call: Call, server: LocalServer) -> None:
    raised = fails(server, Fault(delay=30), timeout=Timeout(read=0.1, total=5), retries=1, call=call)
    assert type(raised) is errors.TimedOut
    assert isinstance(raised, TimeoutError)
    assert "sent nothing for 0.1 s" in str(raised)
    assert len(server.requests) == 2


@pytest.mark.parametrize("fault", [Fault(drip_body=0.1), Fault(drip_headers=0.1), Fault(delay=30)])
def test_the_total_deadline_holds_whatever_the_server_does(call: Call, server: LocalServer, fault: Fault) -> None:
    raised = fails(server, fault, timeout=Timeout(total=0.3, read=10), call=call)
    assert type(raised) is errors.TimedOut
    assert "did not answer completely within 0.3 s" in str(raised)


def test_the_total_deadline_spans_all_attempts(
    call: Call, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "_backoff", lambda state: 0.7)
    raised = fails(server, Fault(status=503), timeout=1.0, retries=100, call=call)
    assert type(raised) is errors.ServerError  # what went wrong is worth more than that time ran out
    assert len(server.requests) <= 2


def test_a_retry_after_within_the_deadline_does_not_extend_it(call: Call, server: LocalServer) -> None:
    again_and_again = Fault(status=503, headers={"retry-after": "0.1"})
    raised = fails(server, again_and_again, timeout=0.3, retries=9, call=call)
    assert isinstance(raised, (errors.TimedOut, errors.ServerError))
    assert len(server.requests) <= 3


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


def test_a_connection_that_is_never_made_times_out(call: Call, unanswered: str) -> None:
    with pytest.raises(errors.TimedOut, match=r"no connection within 0\.2 s"):
        call(service(timeout=Timeout(connect=0.2, read=5.0, total=10.0), retries=0).post, unanswered, {})


def test_the_key_is_redacted_where_a_service_quotes_it(call: Call, server: LocalServer) -> None:
    raised = fails(server, Fault(status=401, body={"message": f"no such key: {KEY}"}), call=call)
    assert KEY not in str(raised)
    assert KEY not in raised.body
    assert "no such key: ****" in str(raised)


def test_errors_keep_their_fields_through_pickle(server: LocalServer) -> None:
    raised = fails(server, Fault(status=429, headers={"Retry-After": "60"}))
    copied = pickle.loads(pickle.dumps(raised))
    assert type(copied) is errors.RateLimited
    assert str(copied) == str(raised)
    assert vars(copied) == vars(raised)


def test_a_service_shows_no_key_in_repr_or_pickle_but_keeps_it_in_a_deepcopy() -> None:
    original = service()
    assert KEY not in repr(vars(original))
    assert KEY.encode() not in pickle.dumps(original)
    copied: Any = copy.deepcopy(original)
    assert copied._auth.redacted(KEY) == "**********"


def test_connections_are_kept_alive(call: Call) -> None:
    connections: set[str] = set()

    class Counting(LocalServer):
        def answer(self, request: Request) -> Reply:
            connections.add(threading.current_thread().name)  # the server has a thread a connection
            return Reply.json({})

    with Counting() as server:
        shared = service()
        if call.__name__ == "<lambda>":
            for _ in range(5):
                shared.post(server.url, {})
            shared.close()
        else:

            async def main() -> None:
                for _ in range(5):
                    await shared.apost(server.url, {})

            asyncio.run(main())
        assert len(server.requests) == 5
        assert len(connections) == 1


def test_a_cookie_is_not_sent_with_the_next_call(call: Call, server: LocalServer) -> None:
    shared = service()
    with server.failing(Fault(headers={"set-cookie": "session=\xe9; path=/"})):  # httpx cannot even send this one
        call(shared.post, server.url, {})
    assert call(shared.post, server.url, {}).status == 200
    assert "cookie" not in server.requests[1].headers


def test_one_service_works_from_one_event_loop_after_another(server: LocalServer) -> None:
    shared = service()

    async def main() -> None:
        await asyncio.gather(*(shared.apost(server.url, {}) for _ in range(5)))

    asyncio.run(main())
    asyncio.run(main())
    assert len(server.requests) == 10
    assert not shared._clients


def test_sync_calls_work_inside_a_running_event_loop_and_from_many_threads(server: LocalServer) -> None:
    shared = service()

    async def main() -> object:
        return shared.post(server.url, {"n": 1}).data

    assert asyncio.run(main()) == {"echo": {"n": 1}}
    threads = [threading.Thread(target=shared.post, args=(server.url, {})) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 17
    shared.close()
    shared.post(server.url, {})  # closing gives connections back; asking again takes new ones


async def test_closing_leaves_calls_in_progress_alone() -> None:
    loop, received, closed = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def answer(request: Request) -> Reply:
        loop.call_soon_threadsafe(received.set)
        closed.wait(10)
        return Reply.json({"n": 1})

    client = default_client()
    shared = service(retries=0, client_factory=lambda: client)
    with LocalServer(answer) as server:
        call = asyncio.ensure_future(shared.apost(server.url, {}))
        await received.wait()
        await shared.aclose()
        closed.set()
        assert (await call).data == {"n": 1}
    assert client.is_closed  # as soon as its call ended


def test_a_program_that_made_a_call_by_host_name_ends_quietly(server: LocalServer) -> None:
    url = server.url.replace("127.0.0.1", "localhost")  # a look-up runs on a thread of the loop's executor
    code = f"from ksdk_rerank._transport.service import HttpService; print(HttpService('x').post({url!r}, {{}}).status)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "200\n", "")


def test_a_cancelled_call_hangs_up(server: LocalServer) -> None:
    async def main() -> None:
        with server.failing(Fault(delay=30)):
            task = asyncio.create_task(service().apost(server.url, {}))
            while not server.requests:  # noqa: ASYNC110 - the server is on another thread
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_client_factory_makes_the_clients_and_they_are_closed(call: Call, server: LocalServer) -> None:
    made: list[httpx.AsyncClient] = []

    def factory() -> httpx.AsyncClient:
        made.append(httpx.AsyncClient(headers={"x-team": "search"}))
        return made[-1]

    shared = service(client_factory=factory)
    call(shared.post, server.url, {})
    shared.close()
    assert server.requests[0].headers["x-team"] == "search"
    assert [client.is_closed for client in made] == [True]


async def test_a_client_factory_that_returns_one_client_again_is_refused(server: LocalServer) -> None:
    shared = httpx.AsyncClient()
    again = "client_factory must return a new httpx.AsyncClient each time.* one that it had returned before"
    one, other = (service(client_factory=lambda: shared) for _ in range(2))
    await one.apost(server.url, {})
    calls = (one.apost(server.url, {}) for _ in range(2))
    reply, error = await asyncio.gather(*calls, return_exceptions=True)  # the first takes the idle client
    assert not isinstance(reply, BaseException)
    assert isinstance(error, TypeError)
    assert re.search(again, str(error))  # at once, not when the client has been closed as idle
    with pytest.raises(TypeError, match=again):  # each would close the other's
        await other.apost(server.url, {})
    with pytest.raises(TypeError, match=again):  # it runs on another event loop
        await asyncio.to_thread(one.post, server.url, {})
    await one.apost(server.url, {})


def closed_client() -> httpx.AsyncClient:
    client = httpx.AsyncClient()
    asyncio.run(client.aclose())
    return client


@pytest.mark.parametrize(("make", "what"), [(httpx.Client, "a Client"), (closed_client, "a closed one")])
def test_what_a_client_factory_returns_must_be_an_open_asynchronous_client(
    call: Call, make: Callable[[], Any], what: str
) -> None:
    made = make()
    with pytest.raises(TypeError, match=f"client_factory must return a new httpx.AsyncClient.* returned {what}$"):
        call(service(client_factory=lambda: made).post, "http://127.0.0.1:9", {})


def test_a_client_factory_must_be_callable() -> None:
    with pytest.raises(
        ValueError, match=r"client_factory must be a function that returns a new httpx\.AsyncClient"
    ) as caught:
        service(client_factory=httpx.AsyncClient())
    assert isinstance(caught.value, TypeError)


async def test_a_connection_that_cannot_be_closed_keeps_no_other_open_and_fails_no_call(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(httpx.AsyncClient):
        async def aclose(self) -> None:
            await super().aclose()
            raise OSError("the peer is gone")

    made: list[Broken] = []

    def factory() -> Broken:
        made.append(Broken())
        return made[-1]

    shared = service(client_factory=factory)
    await asyncio.gather(*(shared.apost(server.url, {}) for _ in range(3)))
    monkeypatch.setattr(connections, "_IDLE", -1.0)
    assert (await shared.apost(server.url, {})).status == 200
    assert [client.is_closed for client in made].count(True) == 1
    with pytest.raises(OSError, match="the peer is gone"):
        await shared.aclose()
    assert all(client.is_closed for client in made)


def test_a_client_of_the_user_s_keeps_its_own_authentication_where_there_is_no_key(
    call: Call, server: LocalServer
) -> None:
    def factory() -> httpx.AsyncClient:
        return httpx.AsyncClient(auth=("user", "password"))

    for options, expected in (({"auth": None}, "Basic dXNlcjpwYXNzd29yZA=="), ({}, f"Bearer {KEY}")):
        call(service(client_factory=factory, **options).post, server.url, {})
        assert server.requests[-1].headers["authorization"] == expected


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_timeout_without_end_or_sense_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match="must be a positive, finite number of seconds"):
        service(timeout=timeout)


@pytest.mark.parametrize("retries", [-1, 1.5, True])
def test_retries_must_be_a_count(retries: Any) -> None:
    with pytest.raises(ValueError, match=r"retries must be (an integer of )?at least 0"):
        service(retries=retries)


EXHAUSTED = """
import os, resource
from ksdk_rerank import Fallback, TEIReranker
reranker = Fallback([TEIReranker("http://127.0.0.1:9", timeout=5.0), "input-order"])
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
while len(held) < 64:
    try:
        held.append(os.dup(0))
    except OSError:
        break
print(*(failure.message for failure in reranker.rank("q", ["a"]).failures))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_process_without_a_free_file_descriptor_cannot_connect_and_does_not_hang() -> None:
    done = subprocess.run([sys.executable, "-c", EXHAUSTED], capture_output=True, text=True, timeout=60)
    assert done.stdout == (
        "no connection can be opened ([Errno 24] Too many open files); close files and connections, or raise their"
        " limit (ulimit -n)\n"
    ), done.stderr
