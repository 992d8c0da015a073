"""A proxy before an HTTP server, with one fault: from some request on, for some seconds."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import numpy as np

NOT_FORWARDED = ("connection", "keep-alive", "transfer-encoding", "content-length")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a client asks."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What it is answered."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    length: str = ""
    """`Content-Length`, where there is no body."""


Server = Callable[[Request], Answer]
Fault = Callable[[Request, Server], Answer | None]
"""What a request meets while the fault lasts; None closes its connection without an answer."""


class Proxy:
    """Requests and answers go through; the fault begins with the request number `first` and lasts some seconds.

    Without a fault requests are counted.
    """

    def __init__(self, server: Server, fault: Fault | None = None, *, first: int = 0, seconds: float = 0) -> None:
        self._server, self._fault = server, fault
        self._first, self._seconds = first, seconds
        self._lock = threading.Lock()
        self._began: float | None = None
        self._over = threading.Event()
        self._connections: set[socket.socket] = set()
        self._http: ThreadingHTTPServer | None = None
        self.asked = 0
        self.port = 0

    @property
    def address(self) -> str:
        """Its own."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def began(self) -> bool:
        """Whether the fault has begun."""
        return self._began is not None

    @property
    def over(self) -> bool:
        """Whether the fault has begun and ended."""
        return self._over.is_set()

    def wait(self) -> None:
        """Wait for the end of a fault that has begun."""
        if self.began:
            self._over.wait(self._seconds + 10)

    @contextlib.contextmanager
    def listening(self) -> Iterator["Proxy"]:
        """Serve."""
        self._listen()
        try:
            yield self
        finally:
            self._over.set()
            with self._lock:
                self._close()

    def _listen(self) -> None:
        proxy = self

        class Handler(_Handler):
            def connected(self) -> set[socket.socket]:
                return proxy._connections

            def answered(self, request: Request) -> Answer | None:
                return proxy._answer(request)

        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def _close(self) -> None:
        """Listen no more, and cut every connection."""
        if self._http is None:
            return
        self._http.shutdown()
        self._http.socket.close()
        self._http = None
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, request: Request) -> Answer | None:
        with self._lock:
            self.asked += 1
            if self._fault and self._began is None and self.asked > self._first:
                self._began = time.monotonic()
                threading.Timer(self._seconds, self._end).start()
                if self._fault is away:
                    self._close()
            faulty = self._fault is not None and self.began and not self.over
        if faulty and self._fault:
            return self._fault(request, self._server)
        return self._server(request)

    def _end(self) -> None:
        with self._lock:
            if self._fault is away and not self.over:
                self._listen()
            self._over.set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # clients ask before they send a body

    def connected(self) -> set[socket.socket]:
        raise NotImplementedError

    def answered(self, request: Request) -> Answer | None:
        raise NotImplementedError

    def setup(self) -> None:
        super().setup()
        self.connected().add(self.connection)

    def finish(self) -> None:
        self.connected().discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()

    def pass_on(self) -> None:
        request = Request(method=self.command, path=self.path, headers=dict(self.headers), body=self._body())
        answer = self.answered(request)
        if answer is None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if answer.status not in (204, 304):
            self.send_header("Content-Length", answer.length or str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_PUT = do_HEAD = do_POST = do_PATCH = do_DELETE = pass_on  # the names that http.server calls

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def forwarding(address: str) -> Server:
    """The server at an address."""
    netloc = urlsplit(address).netloc

    def ask(request: Request) -> Answer:
        with contextlib.closing(HTTPConnection(netloc, timeout=120)) as connection:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in NOT_FORWARDED}
            if request.body or request.method in ("PUT", "POST", "PATCH"):
                headers["Content-Length"] = str(len(request.body))
            connection.request(request.method, request.path, request.body or None, headers)
            return _answer_of(connection.getresponse())

    return ask


def _answer_of(response: HTTPResponse) -> Answer:
    headers = tuple((name, value) for name, value in response.getheaders() if name.lower() not in NOT_FORWARDED)
    length = response.getheader("Content-Length", "")
    body = response.read()
    return Answer(status=response.status, headers=headers, body=body, length=length if not body else "")


def away(request: Request, server: Server) -> Answer | None:
    """Nobody listens: the proxy sees to it; this is the request that meets the end."""
    return None


def answering(rng: np.random.Generator, answers: list[Answer], share: float = 1.0) -> Fault:
    """A share of the requests is answered by one of some answers, half of them after they were done all the same."""
    lock = threading.Lock()

    def fault(request: Request, server: Server) -> Answer | None:
        with lock:
            hit, done, which = rng.uniform() < share, rng.uniform() < 0.5, int(rng.integers(len(answers)))
        if not hit:
            return server(request)
        if done:
            server(request)
        return answers[which]

    return fault


def silent(rng: np.random.Generator, seconds: float) -> Fault:
    """No answer within some seconds, then none at all; half of the requests are done all the same."""
    lock = threading.Lock()

    def fault(request: Request, server: Server) -> Answer | None:
        with lock:
            done = rng.uniform() < 0.5
        if done:
            server(request)
        time.sleep(seconds)
        return None

    return fault
