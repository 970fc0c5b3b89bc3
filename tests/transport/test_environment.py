"""Proxies and certificates in the environment that cannot be used: an error of ours that names the variable."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from ksdk_rerank import Fallback, TEIReranker, errors
from ksdk_rerank._transport import retry
from ksdk_rerank._transport.environment import flaw_of
from ksdk_rerank._transport.service import HttpService
from ksdk_rerank.errors import without_credentials
from ksdk_rerank.testing import Fault, LocalServer, Reply

Call = Callable[..., Any]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("SSL"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(retry, "_backoff", lambda state: 0.01)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(lambda request: Reply.json([{"index": 0, "score": 0.5}])) as server:
        yield server


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "empty.pem").write_bytes(b"")
    (tmp_path / "words.pem").write_text("not a certificate")
    (tmp_path / "binary.pem").write_bytes(b"\x30\x82\x01\xff")
    (tmp_path / "cut.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    (tmp_path / "folder").mkdir()
    return tmp_path


def asked(url: str, *, service: HttpService | None = None, retries: int = 0) -> Any:
    return (service or HttpService("Example", timeout=10.0, retries=retries)).post(url, {})


# variables -> what the error says of them; {files} is a folder of the test
UNUSABLE: dict[str, tuple[dict[str, str], str]] = {
    "a port that is no number": (
        {"HTTP_PROXY": "http://proxy:port"},
        "HTTP_PROXY is 'http://proxy:port', which is not an address such as",
    ),
    "a port that is no number, in lower case": ({"https_proxy": "proxy:port"}, "https_proxy is 'proxy:port', which"),
    "lower case wins": (
        {"ALL_PROXY": "http://127.0.0.1:3128", "all_proxy": "http://proxy:port"},
        "all_proxy is 'http://proxy:port', which",
    ),
    "credentials": (
        {"ALL_PROXY": "http://alice:s3cret@proxy:port"},
        "ALL_PROXY is 'http://**********@proxy:port', which",
    ),
    "a password with a slash and an @": (
        {"HTTPS_PROXY": "http://alice:s3cret/@s3cret@proxy:3128"},
        "HTTPS_PROXY is 'http://**********@proxy:3128', which",
    ),
    "credentials without a scheme": ({"HTTP_PROXY": "alice:s3cret/@proxy"}, "HTTP_PROXY is '**********@proxy', which"),
    "an unknown scheme": ({"HTTPS_PROXY": "ftp://proxy"}, "HTTPS_PROXY is 'ftp://proxy', which does not begin with"),
    "SOCKS 4": ({"ALL_PROXY": "socks4://proxy:1080"}, "which does not begin with one of http://, https://, socks5://"),
    "no scheme before the colon": ({"ALL_PROXY": "://proxy"}, "ALL_PROXY is '://proxy', which does not begin with"),
    "an IPv6 address that does not end": (
        {"HTTP_PROXY": "http://[::1"},
        "HTTP_PROXY is 'http://[::1', which is not an",
    ),
    "an address beyond IPv4": ({"HTTP_PROXY": "http://999.1.1.1:2"}, "HTTP_PROXY is 'http://999.1.1.1:2', which is"),
    "a line break": ({"HTTP_PROXY": "http://proxy\n:1"}, r"HTTP_PROXY is 'http://proxy\n:1', which is not an address"),
    "a host name that cannot be": ({"HTTP_PROXY": "http://\u200d:1"}, r"HTTP_PROXY is 'http://\u200d:1', which is not"),
    "an exclusion in brackets": (
        {"NO_PROXY": "127.0.0.1,[::1]"},
        "NO_PROXY is '127.0.0.1,[::1]', and its entry '[::1]' is not a host name, a domain or an address",
    ),
    "an exclusion with a port that is no number": (
        {"no_proxy": "localhost, example.com:port"},
        "its entry 'example.com:port' is not a host name",
    ),
    "an exclusion that is a network of IPv6": ({"NO_PROXY": "::1/128"}, "its entry '::1/128' is not a host name"),
    "an exclusion with a tab": ({"NO_PROXY": "a\tb"}, r"its entry 'a\tb' is not a host name"),
    "an exclusion that is a URL": ({"NO_PROXY": "a,http://u:s3cret@h:port"}, "its entry 'http://**********@h:port' is"),
    "a certificate file that is not there": (
        {"SSL_CERT_FILE": "{files}/missing.pem"},
        "SSL_CERT_FILE is '{files}/missing.pem', which cannot be read: No such file or directory",
    ),
    "a certificate file that is a folder": (
        {"SSL_CERT_FILE": "{files}/folder"},
        "SSL_CERT_FILE is '{files}/folder', which cannot be read: Is a directory",
    ),
    "an empty certificate file": ({"SSL_CERT_FILE": "{files}/empty.pem"}, "which contains no certificates in PEM form"),
    "a certificate file with words": (
        {"SSL_CERT_FILE": "{files}/words.pem"},
        "which contains no certificates in PEM form",
    ),
    "a certificate file in DER": (
        {"SSL_CERT_FILE": "{files}/binary.pem"},
        "which contains no certificates in PEM form",
    ),
    "a damaged certificate": (
        {"SSL_CERT_FILE": "{files}/cut.pem"},
        "SSL_CERT_FILE is '{files}/cut.pem', which contains no",
    ),
    "a key log that cannot be written": (
        {"SSLKEYLOGFILE": "{files}/missing/log"},
        "SSLKEYLOGFILE is '{files}/missing/log', which cannot be written: No such file or directory",
    ),
}


@pytest.fixture(params=UNUSABLE.values(), ids=list(UNUSABLE))
def said(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, files: Path) -> str:
    """An environment in which no client can be made, and what is said of it."""
    variables, said = request.param
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("{files}", str(files)))
    return str(said.replace("{files}", str(files)))


def test_a_setting_that_cannot_be_used_is_named_with_its_value(server: LocalServer, said: str) -> None:
    before = dict(os.environ)
    with pytest.raises(errors.InvalidEnvironment) as raised:
        asked(server.url, retries=3)
    error = raised.value
    assert type(error) is errors.InvalidEnvironment
    assert error.service == "Example"
    assert said in str(error)
    assert str(error).startswith("Example: ")
    assert str(error).endswith("; correct or unset that, or pass a client_factory with your own settings")
    assert "s3cret" not in "".join(traceback.format_exception(error))
    assert server.requests == []
    assert dict(os.environ) == before


def test_a_fallback_moves_on_after_a_setting_that_cannot_be_used(
    call: Call, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://u:s3cret@proxy:port")
    ranking = call(Fallback([TEIReranker(server.url), "input-order"]).rank, "query", ["document"])
    assert ranking.reranked_by == "input-order"
    [failure] = ranking.failures
    assert failure.error == "InvalidEnvironment"
    assert "HTTP_PROXY is 'http://**********@proxy:port', which is not an address" in failure.message


def test_socks_without_its_package_names_the_package(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5h://alice:s3cret@127.0.0.1:1080")
    monkeypatch.setitem(__import__("sys").modules, "socksio", None)
    monkeypatch.setattr("ksdk_rerank._transport.environment.find_spec", lambda name: None)
    with pytest.raises(errors.InvalidEnvironment, match=r'pip install "httpx\[socks\]"') as raised:
        asked(server.url)
    assert "ALL_PROXY is 'socks5h://**********@127.0.0.1:1080'" in str(raised.value)


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root reads every file")
def test_a_certificate_file_that_may_not_be_read_is_named(
    server: LocalServer, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (files / "words.pem").chmod(0)
    monkeypatch.setenv("SSL_CERT_FILE", str(files / "words.pem"))
    with pytest.raises(errors.InvalidEnvironment, match="cannot be read: Permission denied"):
        asked(server.url)


def test_a_corrected_setting_counts_from_the_next_call(
    call: Call, server: LocalServer, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = HttpService("Example", timeout=10.0)
    monkeypatch.setenv("SSL_CERT_FILE", str(files / "late.pem"))
    with pytest.raises(errors.InvalidEnvironment):
        asked(server.url, service=service)
    trustme.CA().cert_pem.write_to_path(str(files / "late.pem"))
    assert asked(server.url, service=service).status == 200


@pytest.mark.parametrize(
    "exclusions",
    ["127.0.0.1", "127.0.0.1,::1", "localhost,.example.com,127.0.0.1", "*", "x,*", " 127.0.0.1 , 10.0.0.0/8"],
)
def test_settings_in_order_are_used(server: LocalServer, exclusions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", exclusions)
    assert asked(server.url).status == 200


def test_requests_go_through_the_proxy_of_the_environment(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    assert asked("http://reranker.invalid/rerank").status == 200
    assert server.requests[0].path == "http://reranker.invalid/rerank"


# A factory's own errors are for whoever wrote it, and must not be laid at the door of the environment or of our URL.
FACTORIES: dict[str, tuple[Callable[[], httpx.AsyncClient], type[Exception]]] = {
    "a proxy": (lambda: httpx.AsyncClient(proxy="http://proxy:port"), httpx.InvalidURL),
    "a certificate": (lambda: httpx.AsyncClient(verify=ssl.create_default_context(cafile="/missing")), OSError),
    "a transport error": (lambda: (_ for _ in ()).throw(httpx.ConnectError("mine")), httpx.ConnectError),
    "a time-out": (lambda: (_ for _ in ()).throw(httpx.ReadTimeout("mine")), httpx.ReadTimeout),
}


@pytest.mark.parametrize(("factory", "expected"), FACTORIES.values(), ids=FACTORIES)
def test_what_a_client_factory_raises_is_raised_as_it_is(
    server: LocalServer, factory: Callable[[], httpx.AsyncClient], expected: type[Exception]
) -> None:
    with pytest.raises(expected) as raised:
        asked(server.url, service=HttpService("Example", client_factory=factory))
    assert not isinstance(raised.value, errors.RerankError)


def test_a_client_factory_need_not_read_the_environment(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:port")
    service = HttpService("Example", client_factory=lambda: httpx.AsyncClient(trust_env=False))
    assert asked(server.url, service=service).status == 200


@pytest.mark.parametrize(
    ("proxy", "why"),
    [
        ("http://127.0.0.1:99999", "which has a port that is not between 1 and 65535"),
        ("http://127.0.0.1:-1", "which has a port that is not between 1 and 65535"),
        ("http://127.0.0.1:0", "which has a port that is not between 1 and 65535"),
        ("http://alice:s3cret@:8080", "which has no host"),
        ("http://", "which has no host"),
    ],
)
def test_a_proxy_that_fails_only_in_use_is_named_too(proxy: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(errors.InvalidEnvironment, match=why) as raised:
        asked("http://reranker.invalid")
    assert f"HTTP_PROXY is {without_credentials(proxy)!r}" in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_a_bad_proxy_for_other_addresses_does_no_harm(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:99999")
    assert asked(server.url).status == 200


def test_a_proxy_that_is_down_is_a_failed_connection_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("ALL_PROXY", f"http://alice:s3cret@127.0.0.1:{port}")
    with pytest.raises(errors.ConnectionFailed) as raised:
        asked("https://reranker.invalid")
    assert type(raised.value) is errors.ConnectionFailed
    assert f"(through a proxy: ALL_PROXY is 'http://**********@127.0.0.1:{port}')" in str(raised.value)


def test_a_proxy_that_asks_for_a_password_is_an_invalid_environment(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    with server.failing(Fault(status=407)), pytest.raises(errors.InvalidEnvironment) as raised:
        asked("http://reranker.invalid", retries=2)
    assert raised.value.status == 407
    assert f"HTTP_PROXY is '{server.url}', and that proxy asks for a user name and password" in str(raised.value)
    assert len(server.requests) == 1


@contextmanager
def saying(reply: bytes) -> Iterator[str]:
    """Something that answers each connection with `reply`, whatever it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        connection.recv(1000)
                        connection.sendall(reply)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("reply", "expected", "says"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", errors.InvalidEnvironment, "407 Proxy Authentication"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", errors.InvalidEnvironment, "refuses the connection: 403 Forbidden"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", errors.ConnectionFailed, "502 Bad Gateway"),
        (b"no HTTP at all\r\n\r\n", errors.ConnectionFailed, "RemoteProtocolError"),
    ],
)
def test_what_a_proxy_says_to_a_tunnel_is_told_with_its_variable(
    reply: bytes, expected: type[errors.ServiceError], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with saying(reply) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        with pytest.raises(expected) as raised:
            asked("https://reranker.invalid")
    assert type(raised.value) is expected
    assert says in str(raised.value)
    assert f"HTTPS_PROXY is '{proxy}'" in str(raised.value)


@pytest.fixture
def https(tmp_path: Path) -> Iterator[str]:
    """A server with a certificate of an authority that nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        context.wrap_socket(connection, server_side=True)

        threading.Thread(target=serve, daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"


def test_a_certificate_that_nobody_trusts_is_a_failed_connection(https: str) -> None:
    with pytest.raises(errors.ConnectionFailed, match="CERTIFICATE_VERIFY_FAILED") as raised:
        asked(https)
    assert type(raised.value) is errors.ConnectionFailed


@pytest.mark.parametrize("folder", ["missing", "folder", "empty.pem", "missing:folder"])
def test_a_certificate_folder_without_certificates_is_named_when_it_is_needed(
    https: str, server: LocalServer, files: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = os.pathsep.join(str(files / name) for name in folder.split(":"))
    monkeypatch.setenv("SSL_CERT_DIR", value)
    assert asked(server.url).status == 200  # without TLS it does no harm
    with pytest.raises(errors.InvalidEnvironment, match="where no certificate has a hashed name") as raised:
        asked(https)
    assert f"SSL_CERT_DIR is {value!r}" in str(raised.value)
    assert "CERTIFICATE_VERIFY_FAILED" in str(raised.value)


def test_a_certificate_file_of_other_authorities_is_named(
    https: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trustme.CA().cert_pem.write_to_path(str(files / "other.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(files / "other.pem"))
    with pytest.raises(errors.ConnectionFailed, match="CERTIFICATE_VERIFY_FAILED") as raised:
        asked(https)
    assert type(raised.value) is errors.ConnectionFailed  # it may as well be the server's fault
    assert f"SSL_CERT_FILE is {str(files / 'other.pem')!r}, and only the authorities in that file" in str(raised.value)


@pytest.mark.parametrize(
    ("sent", "expected", "says"),
    [
        (b"", errors.ConnectionFailed, "ReadError: [SSL: "),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", errors.ConnectionFailed, "ReadError: [SSL: "),
        (b"HTTP/1.1 429 Slow down\r\ncontent-length: 9\r\n\r\n{", errors.RateLimited, "answered 429: {"),
    ],
)
def test_a_connection_whose_encryption_breaks_is_a_failed_one(
    sent: bytes, expected: type[errors.ServiceError], says: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(files / "ours.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(files / "ours.pem"))

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                connection.recv(1000)
                connection.sendall(sent)
                socket.socket.sendall(connection, b"\x17\x03\x03\x00\x20" + b"x" * 32)  # a record in nobody's key
                connection.recv(1000)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(expected) as raised:
            asked(f"https://127.0.0.1:{listener.getsockname()[1]}")
    assert type(raised.value) is expected
    assert says in str(raised.value)


def test_nothing_is_wrong_with_usual_addresses_of_proxies() -> None:
    usual = ["http://proxy:3128", "https://proxy", "proxy:3128", "HTTP://10.0.0.1", "http://u:p@[::1]:3128/", "proxy"]
    assert [flaw_of(proxy) for proxy in usual] == [""] * len(usual)
