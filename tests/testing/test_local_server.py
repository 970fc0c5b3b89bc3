import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle

import httpx
import pytest

from ksdk_rerank.testing import Fault, LocalServer, Reply, Request


def get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False, verify=False)  # no TLS here, so load no certificates


def echo(request: Request) -> Reply:
    return Reply.json({"method": request.method, "got": request.body.decode()})


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(echo) as running:
        yield running


@pytest.fixture
def client(server: LocalServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=5.0, trust_env=False, verify=False) as running:
        yield running


def statuses(client: httpx.Client, count: int) -> list[int]:
    return [client.post("/", json={}).status_code for _ in range(count)]


# --- the healthy server


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_gets_the_answer(client: httpx.Client, method: str) -> None:
    reply = client.request(method, "/", content=b"hello")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json() == {"method": method, "got": "hello"}


def test_head_gets_the_headers_of_the_answer_and_no_body(client: httpx.Client) -> None:
    reply = client.head("/")
    assert (reply.content, int(reply.headers["content-length"])) == (b"", len('{"method": "HEAD", "got": ""}'))
    assert client.get("/").json()["method"] == "GET"  # on the same connection: nothing was left over


def test_requests_are_recorded_in_order_as_they_were_sent(server: LocalServer, client: httpx.Client) -> None:
    client.post("/v1/search?x=1", json={"query": "é"}, headers={"X-Api-Key": "secret"})
    client.get("/second")
    first, second = server.requests
    assert (first.method, first.path, first.json()) == ("POST", "/v1/search?x=1", {"query": "é"})
    assert first.headers["x-api-key"] == "secret"
    assert (second.method, second.path, second.body) == ("GET", "/second", b"")


def test_a_doubled_slash_in_the_path_stays_visible(server: LocalServer, client: httpx.Client) -> None:
    client.get(server.url + "//v1/search")
    assert server.requests[0].path == "//v1/search"


def test_the_repr_of_a_request_shows_no_key(server: LocalServer, client: httpx.Client) -> None:
    client.get("/", headers={"x-api-key": "top-secret"})
    assert "top-secret" not in repr(server.requests)


def test_one_connection_serves_many_requests() -> None:
    with LocalServer(echo) as server:
        connection = socket.create_connection(("127.0.0.1", httpx.URL(server.url).port))
        with connection, connection.makefile("rb") as replies:
            for _ in range(3):
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert replies.readline() == b"HTTP/1.1 200 OK\r\n"
                headers = dict(line.strip().split(b": ") for line in iter(replies.readline, b"\r\n"))
                assert json.loads(replies.read(int(headers[b"content-length"])))["method"] == "GET"


def test_every_reply_has_its_own_request_id_faults_included(server: LocalServer, client: httpx.Client) -> None:
    with server.failing([None, Fault(status=500), Fault(headers={"X-Request-Id": "mine"})]):
        assert [client.get("/").headers["x-request-id"] for _ in range(3)] == ["req_1", "req_2", "mine"]


def test_requests_are_answered_side_by_side() -> None:
    meeting = threading.Barrier(8)

    def answer(request: Request) -> Reply:
        meeting.wait(5)  # gets through only when eight requests are in here at once
        return Reply.json({"path": request.path})

    with LocalServer(answer) as server:
        paths: list[str] = []
        threads = [
            threading.Thread(target=lambda n=n: paths.append(get(f"{server.url}/{n}").json()["path"])) for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(paths) == [f"/{n}" for n in range(8)]
    assert len(server.requests) == 8


async def test_an_async_client_gets_the_same_answers(server: LocalServer) -> None:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, verify=False) as client:
        with server.failing(Fault(status=429), times=1):
            assert (await client.get("/")).status_code == 429
        assert (await client.get("/")).json() == {"method": "GET", "got": ""}


def test_a_subclass_may_override_answer() -> None:
    class Teapot(LocalServer):
        def answer(self, request: Request) -> Reply:
            return Reply(418, {"Content-Type": "text/plain"}, b"short and stout")

    with Teapot() as server:
        reply = get(server.url)
    assert (reply.status_code, reply.headers["content-type"], reply.text) == (418, "text/plain", "short and stout")


def test_a_server_without_an_answer_says_how_to_set_one() -> None:
    with LocalServer() as server:
        reply = get(server.url)
    assert reply.status_code == 404
    assert "pass LocalServer(answer)" in reply.json()["message"]


def test_an_exception_in_answer_becomes_a_500_that_quotes_it(capfd: pytest.CaptureFixture[str]) -> None:
    def broken(request: Request) -> Reply:
        raise KeyError("documents")

    with LocalServer(broken) as server:
        reply = get(server.url)
    assert reply.status_code == 500
    assert "KeyError('documents')" in reply.json()["message"]
    assert capfd.readouterr() == ("", "")


def test_a_body_sent_in_chunks_is_read_whole(client: httpx.Client) -> None:
    parts = [b"a" * 20, b"\r\n", b"b"]
    assert client.post("/", content=iter(parts)).json()["got"] == "".join(part.decode() for part in parts)
    assert client.get("/").json()["got"] == ""  # on the same connection: nothing was left over


@pytest.mark.parametrize("framing", [b"Content-Length: many", b"Transfer-Encoding: chunked"])
def test_a_client_that_talks_nonsense_is_hung_up_on_and_the_server_lives(
    server: LocalServer, client: httpx.Client, framing: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port)) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\nnonsense\r\n")
        connection.settimeout(5)
        with suppress(ConnectionResetError):
            assert connection.recv(100) == b""
    assert client.get("/").status_code == 200
    assert len(server.requests) == 1
    assert capfd.readouterr() == ("", "")


# --- start and stop


def test_a_stopped_server_has_no_url_and_can_be_started_again() -> None:
    server = LocalServer(echo)
    with pytest.raises(RuntimeError, match=r"call start\(\)"):
        _ = server.url
    for _ in range(2):
        assert server.start() is server
        assert get(server.url).status_code == 200
        url = server.url
        server.stop()
        with pytest.raises(httpx.ConnectError):
            get(url)
    server.stop()


def test_starting_twice_is_an_error(server: LocalServer) -> None:
    with pytest.raises(RuntimeError, match=r"call stop\(\) first"):
        server.start()


def test_stop_hangs_up_on_idle_connections() -> None:
    with httpx.Client(trust_env=False, verify=False) as client, LocalServer(echo) as server:
        url = server.url
        assert client.get(url).status_code == 200
        server.stop()
        with pytest.raises(httpx.TransportError):
            client.get(url)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "fault", [Fault(delay=60), Fault(drip_body=60), Fault(drip_headers=60), Fault(size=10**15)], ids=str
)
def test_stop_does_not_wait_for_a_fault(fault: Fault) -> None:
    failures: list[Exception] = []

    def ask(url: str) -> None:
        try:
            with httpx.stream("GET", url, timeout=30.0, trust_env=False, verify=False) as reply:
                for _ in reply.iter_raw():
                    pass
        except Exception as error:
            failures.append(error)

    with LocalServer(echo) as server, server.failing(fault):
        thread = threading.Thread(target=ask, args=(server.url,))
        thread.start()
        while not server.requests:
            time.sleep(0.005)
        started = time.perf_counter()
        server.stop()
        assert time.perf_counter() - started < 20  # the faults last a minute
    thread.join(5)
    assert not thread.is_alive()
    assert fault.size or isinstance(failures[0], httpx.TransportError)


# --- when faults apply


def test_a_fault_that_is_set_spoils_every_request_until_it_is_taken_back(
    server: LocalServer, client: httpx.Client
) -> None:
    server.fault = Fault(status=503)
    assert statuses(client, 3) == [503, 503, 503]
    server.fault = None
    assert statuses(client, 1) == [200]


def test_failing_spoils_the_first_requests_or_all_of_the_block(server: LocalServer, client: httpx.Client) -> None:
    with server.failing(Fault(status=500), times=2):
        assert statuses(client, 3) == [500, 500, 200]
    with server.failing(Fault(status=502)):
        assert statuses(client, 3) == [502, 502, 502]
    assert statuses(client, 1) == [200]


def test_failing_takes_one_fault_a_request_and_none_is_healthy(server: LocalServer, client: httpx.Client) -> None:
    with server.failing([Fault(status=500), None, Fault(status=429)]):
        assert statuses(client, 4) == [500, 200, 429, 200]
    with server.failing(cycle([Fault(status=500), None])):
        assert statuses(client, 5) == [500, 200, 500, 200, 500]
    assert statuses(client, 1) == [200]


def test_when_an_inner_block_is_used_up_the_outer_one_holds(server: LocalServer, client: httpx.Client) -> None:
    server.fault = Fault(status=500)
    with server.failing(Fault(status=502), times=2), server.failing([Fault(status=504), None]):
        assert statuses(client, 5) == [504, 200, 502, 502, 500]


def test_faults_left_over_end_with_the_block_also_after_an_error(server: LocalServer, client: httpx.Client) -> None:
    with pytest.raises(ZeroDivisionError), server.failing(Fault(status=500), times=9):
        raise ZeroDivisionError
    assert statuses(client, 1) == [200]


def test_times_beside_a_sequence_is_an_error(server: LocalServer) -> None:
    with pytest.raises(ValueError, match="repeat the faults"), server.failing([Fault()], times=2):
        pass


# --- what faults do


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 501, 502, 503, 504, 522, 524])
def test_an_error_status_comes_with_the_documented_body(server: LocalServer, client: httpx.Client, status: int) -> None:
    server.fault = Fault(status=status)
    reply = client.get("/")
    assert reply.status_code == status
    assert sorted(reply.json()) == ["error", "message", "statusCode"]
    assert reply.json()["statusCode"] == status


@pytest.mark.parametrize("retry_after", ["2", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_fault_may_set_headers(server: LocalServer, client: httpx.Client, retry_after: str) -> None:
    server.fault = Fault(status=429, headers={"Retry-After": retry_after})
    assert client.get("/").headers["retry-after"] == retry_after


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        (Fault(status=502, body=b"<html>Bad gateway</html>"), 502, b"<html>Bad gateway</html>"),
        (Fault(status=500, body=["odd"]), 500, b'["odd"]'),
        (Fault(status=500, body=b""), 500, b""),
        (Fault(body={"hits": None}), 200, b'{"hits": null}'),
        (Fault(body="text"), 200, b'"text"'),
        (Fault(body=b'{"hits": ['), 200, b'{"hits": ['),
        (Fault(body=b""), 200, b""),
        (Fault(status=204), 204, b""),
        (Fault(status=302, headers={"Location": "/elsewhere"}), 302, b""),
        (Fault(headers={"Content-Type": "text/html"}), 200, b'{"method": "GET", "got": ""}'),
    ],
    ids=str,
)
def test_a_fault_may_replace_the_reply(
    server: LocalServer, client: httpx.Client, fault: Fault, status: int, body: bytes
) -> None:
    with server.failing(fault, times=1):
        reply = client.get("/")
    assert (reply.status_code, reply.content) == (status, body)
    assert client.get("/").status_code == 200  # the connection is still good


def test_a_delay_holds_back_the_answer_and_a_client_that_gave_up_does_no_harm(
    server: LocalServer, client: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    with server.failing(Fault(delay=0.2), times=2):
        started = time.perf_counter()
        assert client.get("/").json()["method"] == "GET"
        assert time.perf_counter() - started >= 0.2
        with pytest.raises(httpx.ReadTimeout):
            client.get("/", timeout=0.02)
    assert client.get("/").status_code == 200
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("cut_after", [0, 10])
def test_a_cut_body_promises_more_than_it_sends(server: LocalServer, client: httpx.Client, cut_after: int) -> None:
    server.fault = Fault(body=b"x" * 100, cut_after=cut_after)
    with client.stream("GET", "/") as reply:
        assert (reply.status_code, reply.headers["content-length"]) == (200, "100")
        with pytest.raises(httpx.RemoteProtocolError, match=f"received {cut_after} bytes, expected 100"):
            reply.read()


def test_a_cut_beyond_the_body_cuts_nothing(server: LocalServer, client: httpx.Client) -> None:
    server.fault = Fault(body=b"short", cut_after=100)
    assert [client.get("/").content for _ in range(2)] == [b"short", b"short"]


def test_a_false_content_length_is_sent_as_given(server: LocalServer, client: httpx.Client) -> None:
    server.fault = Fault(headers={"Content-Length": "99999999999"})
    with client.stream("GET", "/") as reply:
        assert reply.headers["content-length"] == "99999999999"
        with pytest.raises(httpx.RemoteProtocolError):
            reply.read()


def test_the_connection_can_close_without_any_reply(server: LocalServer, client: httpx.Client) -> None:
    with server.failing(Fault(cut_after="request"), times=1), pytest.raises(httpx.RemoteProtocolError):
        client.get("/")
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("fault", [Fault(reset=True), Fault(reset=True, cut_after="request")], ids=str)
def test_the_connection_can_be_reset_before_any_reply(server: LocalServer, client: httpx.Client, fault: Fault) -> None:
    with server.failing(fault, times=1), pytest.raises(httpx.ReadError, match="reset by peer"):
        client.get("/")
    assert client.get("/").status_code == 200


def test_the_connection_can_be_reset_after_the_headers(server: LocalServer, client: httpx.Client) -> None:
    server.fault = Fault(reset=True, cut_after=0)
    with client.stream("GET", "/") as reply:
        assert reply.status_code == 200
        with pytest.raises(httpx.ReadError, match="reset by peer"):
            reply.read()


def test_a_dripping_body_outlasts_a_client_that_times_out_only_single_reads(
    server: LocalServer, client: httpx.Client
) -> None:
    server.fault = Fault(body=b"0123456789", drip_body=0.02)
    started = time.perf_counter()
    with client.stream("GET", "/", timeout=1.0) as reply:
        parts = [part for part in reply.iter_raw() if part]
    assert time.perf_counter() - started >= 0.2  # 10 bytes, 0.02 seconds each
    assert b"".join(parts) == b"0123456789"
    assert len(parts) > 1


def test_headers_can_drip_too(server: LocalServer, client: httpx.Client) -> None:
    server.fault = Fault(status=204, drip_headers=0.002)
    started = time.perf_counter()
    assert client.get("/").status_code == 204
    assert time.perf_counter() - started >= 0.1  # more than 50 bytes


def test_a_huge_body_has_no_length_and_ends_after_exactly_so_many_bytes(
    server: LocalServer, client: httpx.Client
) -> None:
    server.fault = Fault(body=b"abc", size=1_000_000)
    reply = client.get("/")
    assert "content-length" not in reply.headers
    assert reply.content == (b"abc" * 333_334)[:1_000_000]


def test_a_huge_body_is_not_built_in_memory(server: LocalServer, client: httpx.Client) -> None:
    server.fault = Fault(size=10**15, headers={"Content-Length": str(10**15)})
    got = 0
    with client.stream("GET", "/") as reply:
        assert reply.headers["content-length"] == str(10**15)
        for part in reply.iter_raw():
            got += len(part)
            if got > 1_000_000:
                break
    server.fault = None
    assert client.get("/").status_code == 200


def test_importing_the_package_loads_neither_pytest_nor_httpx() -> None:
    script = (
        "import sys, ksdk_rerank\n"
        "before = set(sys.modules)\n"
        "import ksdk_rerank.testing\n"
        "print(sorted({'pytest', 'httpx'} & (set(sys.modules) - before)))"
    )
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=paths, check=True)
    assert run.stdout == "[]\n"
