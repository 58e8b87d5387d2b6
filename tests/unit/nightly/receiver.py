"""A real HTTP server on loopback that takes what is posted, or does not."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message

Answer = tuple[int, dict[str, str]]
"""Status and headers."""


@dataclass
class Receiver:
    """Args: answers: one after the other, the last one for ever. silent: it never answers, or drips its head.
    got: (method, path, headers, body) of each request. leave: set at the end, lets go whoever waits."""

    answers: list[Answer] = field(default_factory=lambda: [(200, {})])
    silent: bool = False
    drips: bool = False
    got: list[tuple[str, str, Message, bytes]] = field(default_factory=list)
    leave: threading.Event = field(default_factory=threading.Event)
    url: str = ""


class _Handler(http.server.BaseHTTPRequestHandler):
    receiver: Receiver

    def _take(self) -> None:
        how = self.receiver
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        how.got.append((self.command, self.path, self.headers, body))
        if how.silent:
            how.leave.wait(30)
            return
        if how.drips:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not how.leave.wait(0.02):
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return
            return
        status, headers = how.answers.pop(0) if len(how.answers) > 1 else how.answers[0]
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    do_GET = do_POST = _take

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


@contextmanager
def receiving(receiver: Receiver) -> Iterator[Receiver]:
    """Serve on a free port of loopback for as long as it is needed."""
    handler = type("BoundHandler", (_Handler,), {"receiver": receiver})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield receiver
        finally:
            receiver.leave.set()
            server.shutdown()
            thread.join(timeout=10)
