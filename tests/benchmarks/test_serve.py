"""The load test's own arithmetic, and that it sends what it says to a server on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.serve import Load, bodies, load


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """Answers 200 to what begins with "{", 400 to the rest, and keeps the bodies."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.bodies.append(body)  # type: ignore[attr-defined]
            self.send_response(200 if body.startswith(b"{") else 400)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.bodies = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_every_request_is_sent_once_and_counted(server: ThreadingHTTPServer) -> None:
    found = load(server.server_port, [b"{1}", b"{2}", b"no"], requests=9, concurrency=4)
    assert sorted(server.bodies) == sorted([b"{1}", b"{2}", b"no"] * 3)  # type: ignore[attr-defined]
    assert (len(found.latencies), found.refused) == (9, 3)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 5.0), (0.95, 10.0), (0.9, 9.0), (0.01, 1.0)])
def test_percentiles_are_latencies_that_occurred(share: float, expected: float) -> None:
    assert Load([float(number) for number in range(10, 0, -1)]).percentile(share) == expected


def test_bodies_are_the_validation_items(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`make run` makes it"):
        bodies("classifier", tmp_path)
    file = tmp_path / "data/samples/messages/validation.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text('{"text": "hello", "label": "ham"}\n')
    assert [json.loads(body) for body in bodies("classifier", tmp_path)] == [{"dataframe_records": [{"text": "hello"}]}]
