"""A real web server on 127.0.0.1 for the transfer tests: each path misbehaves in its own way; hits are noted."""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY = bytes(range(256)) * 4096  # 1 MiB


@dataclass
class Hits:
    """What was asked of the server: how often each path, and with which Range."""

    url: str
    body: bytes = BODY
    etag: str = '"one"'
    modified: str = "Mon, 02 Jan 2023 03:04:05 GMT"
    sent: int = 0  # bytes of bodies
    count: Counter[str] = field(default_factory=Counter)
    ranges: list[str | None] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    together: threading.Barrier = field(default_factory=lambda: threading.Barrier(3))


class Handler(BaseHTTPRequestHandler):
    hits: Hits

    def log_message(self, *args: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.hits.count[path] += 1
        self.hits.ranges.append(self.headers["Range"])
        with contextlib.suppress(ConnectionError):
            getattr(self, "serve_" + path.strip("/").split("/")[0].split(".")[0], self.serve_missing)()

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.hits.sent += len(body)
        self.wfile.write(body)

    def serve_missing(self) -> None:
        self.answer(404, {"Content-Length": "0"})

    def serve_plain(self) -> None:
        self.answer(200, {"Content-Length": str(len(self.hits.body))}, self.hits.body)

    def serve_tagged(self) -> None:
        """Knows versions by ETag."""
        self._versioned("If-None-Match", "ETag", self.hits.etag)

    def serve_dated(self) -> None:
        """Knows versions by the date of the last change."""
        self._versioned("If-Modified-Since", "Last-Modified", self.hits.modified)

    def _versioned(self, condition: str, name: str, value: str) -> None:
        if self.headers[condition] == value:
            self.answer(304, {name: value})
        else:
            self.answer(200, {name: value, "Content-Length": str(len(self.hits.body))}, self.hits.body)

    def serve_deaf(self) -> None:
        """Has an ETag, but answers every request in full."""
        self.answer(200, {"ETag": self.hits.etag, "Content-Length": str(len(self.hits.body))}, self.hits.body)

    def serve_truncated(self) -> None:
        """Half of what is announced, always, and no way to continue."""
        self.answer(200, {"Content-Length": str(len(self.hits.body))}, self.hits.body[: len(self.hits.body) // 2])

    def serve_resumable(self) -> None:
        """Twice breaks off in the middle of the whole; continues by Range for who holds the right version."""
        body, asked, head = self.hits.body, self.headers["Range"], {"ETag": self.hits.etag, "Accept-Ranges": "bytes"}
        if asked and self.headers["If-Range"] == self.hits.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.answer(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
                return
            head |= {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
            self.answer(206, head | {"Content-Length": str(len(body) - start)}, body[start:])
        else:
            cut = len(body) if self.hits.count[self.path] > 2 else len(body) // 2
            self.answer(200, head | {"Content-Length": str(len(body))}, body[:cut])

    def serve_shaky(self) -> None:
        """Two failures, then fine."""
        if self.hits.count[self.path] <= 2:
            self.answer(500 if self.hits.count[self.path] == 1 else 503, {"Content-Length": "0", "Retry-After": "0"})
        else:
            self.serve_plain()

    def serve_broken(self) -> None:
        self.answer(500, {"Content-Length": "0"})

    def serve_together(self) -> None:
        """Only for three who ask at the same time; each gets the last part of its path."""
        try:
            self.hits.together.wait(20)
        except threading.BrokenBarrierError:
            return self.serve_missing()
        body = self.path.rpartition("/")[2].encode()
        self.answer(200, {"Content-Length": str(len(body))}, body)

    def serve_moved(self) -> None:
        self.answer(302, {"Location": "/plain.bin", "Content-Length": "0"})

    def serve_round(self) -> None:
        self.answer(302, {"Location": "/round", "Content-Length": "0"})

    def serve_outside(self) -> None:
        self.answer(302, {"Location": "file:///etc/hostname", "Content-Length": "0"})

    def serve_endless(self) -> None:
        self.answer(200, {})
        while not self.hits.stop.is_set():
            self.wfile.write(self.hits.body)

    def serve_huge(self) -> None:
        self.answer(200, {"Content-Length": str(10**15)})

    def serve_silent(self) -> None:
        self.hits.stop.wait(20)

    def serve_dripping(self) -> None:
        """A byte now and then: no single read ever times out."""
        self.answer(200, {"Content-Length": str(len(self.hits.body))})
        while not self.hits.stop.wait(0.05):
            self.wfile.write(b"x")
            self.wfile.flush()

    def serve_longer(self) -> None:
        """More bytes than were announced."""
        self.answer(200, {"Content-Length": str(len(self.hits.body) - 1000)}, self.hits.body)

    def serve_nonsense(self) -> None:
        """A length that is no number."""
        self.answer(200, {"Content-Length": "-5, many"}, self.hits.body)

    def serve_bomb(self) -> None:
        """A small body that unpacks to four times what is allowed, which nobody asked to be packed."""
        packer = zlib.compressobj(9, wbits=31)
        packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
        self.answer(200, {"Content-Encoding": "gzip", "Content-Length": str(len(packed))}, packed)

    def serve_gone(self) -> None:
        """Half of the body, then the connection is reset."""
        self.answer(200, {"Content-Length": str(len(self.hits.body))}, self.hits.body[: len(self.hits.body) // 2])
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def serve_header(self) -> None:
        """A header that comes a byte at a time and never ends."""
        self._drip(b"HTTP/1.1 200 OK\r\nX-Never: ", b"x")

    def serve_continue(self) -> None:
        """`100 Continue`, again and again."""
        self._drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n")

    def serve_trailers(self) -> None:
        """A whole body in chunks, with trailers that never end."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        self._drip(head + b"%x\r\n" % len(self.hits.body) + self.hits.body + b"\r\n0\r\n", b"X-More: yes\r\n")

    def serve_chunk(self) -> None:
        """The length of a chunk that never ends."""
        self._drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0")

    def _drip(self, first: bytes, then: bytes) -> None:
        self.wfile.write(first)
        while not self.hits.stop.wait(0.02):
            self.wfile.write(then)
            self.wfile.flush()

    def serve_maze(self) -> None:
        """Always another place, and a gigabyte to read at each."""
        self.send_response(302)
        self.send_header("Location", f"/maze/{self.hits.count.total()}")
        self.send_header("Content-Length", str(1 << 30))
        self.end_headers()
        self.wfile.write(self.hits.body)

    def serve_secret(self) -> None:
        """Only for who knows the password."""
        if self.headers["Authorization"] == "Basic " + base64.b64encode(b"reader:open-sesame").decode():
            self.serve_plain()
        else:
            self.answer(401, {"Content-Length": "0", "WWW-Authenticate": "Basic"})


@contextlib.contextmanager
def serving() -> Iterator[Hits]:
    """Run the server while the block runs; `Hits.url` is its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hits = Handler.hits = Hits(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hits
    finally:
        hits.stop.set()
        server.shutdown()
        server.server_close()
        thread.join()
