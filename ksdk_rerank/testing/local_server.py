"""A small HTTP/1.1 server on 127.0.0.1 with scripted replies and failures on demand."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.client import responses
from http.server import BaseHTTPRequestHandler
from itertools import count, repeat
from socketserver import BaseServer, ThreadingTCPServer
from typing import Literal, Self

from ksdk_rerank.concurrency.locks import Lock

__all__ = ["Fault", "LocalServer", "Reply", "Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """A received request. `path` is the raw target; header names are lower-case. `repr` hides headers and thus keys."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes

    def json(self) -> object:
        """Parse the body as JSON. Raises `ValueError` if it is not JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply. If `headers` lacks `content-type` (JSON) or `content-length`, the server adds it."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def json(cls, obj: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> "Reply":
        """Build a reply with `obj` as its JSON body."""
        return cls(status, headers or {}, json.dumps(obj).encode())

    @classmethod
    def error(cls, status: int, message: str, *, headers: Mapping[str, str] | None = None) -> "Reply":
        """Build an error in KnowledgeSDK's documented layout: `statusCode`, `error` and `message`."""
        error = {"statusCode": status, "error": responses.get(status, "Unknown Error"), "message": message}
        return cls.json(error, status=status, headers=headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one request. Fields combine: `Fault(status=503, delay=0.2)` is a delayed 503."""

    status: int | None = None  # 200 to 599; from 400 on, a missing `body` becomes the documented JSON error
    headers: Mapping[str, str] = field(default_factory=dict)  # added to the reply's own, or replacing them
    body: object = None  # bytes are sent as is, other values as JSON; without `status` and `body`, the normal reply
    size: int | None = None  # repeat the body up to this many bytes: no length header, never all in memory
    delay: float = 0.0  # seconds before the reply
    drip_headers: float = 0.0  # seconds before every byte of the status line and the headers
    drip_body: float = 0.0  # seconds before every byte of the body
    cut_after: int | Literal["request"] | None = None  # close after this many body bytes; "request": no reply at all
    reset: bool = False  # close with a TCP reset; before any reply unless `cut_after` is set

    def reply(self) -> Reply | None:
        """The reply that replaces the normal one, still without `headers`; None keeps the normal reply."""
        if isinstance(self.body, bytes):
            return Reply(self.status or 200, body=self.body)
        if self.body is not None:
            return Reply.json(self.body, status=self.status or 200)
        if self.status is not None and self.status >= 400:
            return Reply.error(self.status, "The test server is set to fail")
        return None if self.status is None else Reply(self.status)


class LocalServer:
    """A web server for tests, running at `url` from `start()` to `stop()`, or inside `with`.

    Pass `answer`, or override it in a subclass; if it raises, the client gets a 500 that quotes the exception.
    `requests` lists the received requests in order. If `fault` is set, every request fails that way. Inside a
    `failing` block its faults come first. A reply without `x-request-id` gets one.

    Each connection has its own thread and is kept alive, so `answer` must be thread-safe. `stop()` closes every
    connection without waiting for answers, delays or drips.
    """

    def __init__(self, answer: Callable[[Request], Reply] | None = None) -> None:
        self.requests: list[Request] = []
        self.fault: Fault | None = None
        if answer is not None:
            self.answer = answer  # type: ignore[method-assign, assignment]
        self._plans: list[Iterator[Fault | None]] = []  # innermost `failing` block first
        self._lock = Lock()
        self._reply_numbers = count(1)
        self._server: ThreadingTCPServer | None = None
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()

    def answer(self, request: Request) -> Reply:
        """Return the normal reply to one request."""
        return Reply.error(404, "No answer is set: pass LocalServer(answer) or override answer()")

    @contextmanager
    def failing(self, fault: Fault | Iterable[Fault | None], *, times: int | None = None) -> Iterator[None]:
        """Make requests inside the `with` block fail: the first `times` requests, or all if None.

        An iterable gives one fault per request, with None for a healthy request. Once the faults are used up, the
        behaviour outside the block applies again. Raises `ValueError` if `times` comes with an iterable.
        """
        if isinstance(fault, Fault):
            plan: Iterator[Fault | None] = repeat(fault) if times is None else repeat(fault, times)
        elif times is None:
            plan = iter(fault)
        else:
            raise ValueError(f"times={times} needs a single Fault: repeat the faults in the iterable instead")
        with self._lock:
            self._plans.insert(0, plan)
        try:
            yield
        finally:
            with self._lock:
                self._plans = [other for other in self._plans if other is not plan]

    @property
    def url(self) -> str:
        """The server's address, without a trailing slash. Raises `RuntimeError` while it is stopped."""
        if self._server is None:
            raise RuntimeError(f"{type(self).__name__} is stopped: call start() or use it in a with block")
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> Self:
        """Listen on a free port. Raises `RuntimeError` if already running."""
        if self._server is not None:
            raise RuntimeError(f"{type(self).__name__} is already running at {self.url}: call stop() first")
        self._stopping = threading.Event()
        self._server = _Listener(("127.0.0.1", 0), partial(_Connection, self))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Close every connection and free the port at once; a second call is a no-op."""
        server, self._server = self._server, None
        if server is not None:
            self._stopping.set()
            with suppress(OSError):  # not every system can
                server.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts connections
            server.shutdown()
            server.server_close()
            for connection in self._open.copy():
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _receive(self, request: Request) -> Fault:
        with self._lock:
            self.requests.append(request)
            for plan in self._plans:
                for fault in plan:
                    return fault or Fault()
            return self.fault or Fault()

    def _reply(self, request: Request, fault: Fault) -> Reply:
        try:
            reply = fault.reply() or self.answer(request)
        except Exception as error:
            reply = Reply.error(500, f"answer() raised {error!r}")
        headers = {"x-request-id": f"req_{next(self._reply_numbers)}", "content-type": "application/json"}
        for layer in (reply.headers, fault.headers):
            headers.update({name.lower(): value for name, value in layer.items()})
        return Reply(reply.status, headers, reply.body)


class _Listener(ThreadingTCPServer):  # ThreadingHTTPServer would look up the machine's host name first
    daemon_threads = True
    request_queue_size = 128


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, local: LocalServer, client: socket.socket, address: str, server: BaseServer) -> None:
        self.local = local
        super().__init__(client, address, server)

    def log_message(self, *args: object) -> None:
        """Log nothing."""

    def handle(self) -> None:
        self.local._open.add(self.connection)
        with suppress(OSError, ValueError):  # the client disconnected or sent garbage, or stop() was called
            super().handle()
        self.local._open.discard(self.connection)

    def _serve(self) -> None:
        body = b""
        if "transfer-encoding" in self.headers:
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size + 2)[:-2]
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        # The target as sent. self.path merges leading slashes, which would hide a badly joined URL.
        request = Request(self.command, self.requestline.split()[1], headers, body)
        fault = self.local._receive(request)
        self._pause(fault.delay)
        if fault.cut_after == "request" or (fault.reset and fault.cut_after is None):
            return self._hang_up(fault.reset)
        self._send(self.local._reply(request, fault), fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve

    def _send(self, reply: Reply, fault: Fault) -> None:
        size = len(reply.body) if fault.size is None else fault.size
        unsized = fault.size is not None or reply.status == 204
        headers = {**({} if unsized else {"content-length": str(size)}), **reply.headers}
        head = f"HTTP/1.1 {reply.status} {responses.get(reply.status, '')}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._write(f"{head}\r\n".encode(), fault.drip_headers)
        if self.command == "HEAD" or reply.status in (204, 304):
            return
        end = min(size, fault.cut_after) if isinstance(fault.cut_after, int) else size
        block = (reply.body or b" ") * (1 + 65536 // len(reply.body or b" "))
        for start in range(0, end, len(block)):
            self._write(block[: end - start], fault.drip_body)
        if headers.get("content-length") != str(end):
            self._hang_up(fault.reset)

    def _write(self, data: bytes, drip: float) -> None:
        for piece in (data[at : at + 1] for at in range(len(data))) if drip else (data,):
            self._pause(drip)
            self.wfile.write(piece)

    def _pause(self, seconds: float) -> None:
        if self.local._stopping.wait(seconds):
            raise ConnectionAbortedError("the server was stopped")

    def _hang_up(self, reset: bool) -> None:
        self.close_connection = True
        if reset:  # closing with a linger time of 0 sends RST instead of FIN
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()
            self.connection.close()
