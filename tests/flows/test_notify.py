"""The webhook: what it gets, and that it can do no harm."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.tiny_repo import set_number


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """A web server on the loopback; what was posted to it. It answers 500: nobody may mind."""
    got: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, self.headers["Content-Type"], json.loads(body)))
            self.send_response(500 if "angry" in self.path else 204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("SCRIPTORIUM_WEBHOOK", f"http://127.0.0.1:{server.server_address[1]}/hook?token=secret")
    yield got
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_failed_stage_is_told_with_its_reason_and_last_lines(
    done: Path, server: str, hook: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.train import train

    set_number(done, "left", -1)
    with temporary_settings({PREFECT_API_URL: f"{server}/api"}):
        final: Any = train(["left"], return_state=True)
        assert final.is_failed()
        (path, kind, told) = hook[0]
        assert (path, kind) == ("/hook?token=secret", "application/json") and len(hook) == 1
        assert told["flow"] == "train" and told["stage"] == "left" and told["state"] == "Failed"
        assert told["reason"] == "number is -1, allowed are 0 and more"
        assert told["last_lines"][:2] == ["left says -1", "about to fail"]
        assert told["text"] == "train: left failed: number is -1, allowed are 0 and more"
        final = train(["lefft"], return_state=True)
    assert hook[1][2]["stage"] is None and "no stage 'lefft'" in hook[1][2]["reason"]
    assert "secret" not in caplog.text


@pytest.mark.parametrize("address", ["angry", "http://127.0.0.1:9/hook?token=secret", "file:///etc/secret", "secret"])
def test_a_webhook_that_fails_fails_nothing_and_is_in_no_log(
    at_home: Path, hook: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, address: str
) -> None:
    import os
    from types import SimpleNamespace

    from flows.notify import tell

    if address == "angry":
        address = os.environ["SCRIPTORIUM_WEBHOOK"].replace("/hook", "/angry")
    monkeypatch.setenv("SCRIPTORIUM_WEBHOOK", address)
    state = SimpleNamespace(message="it failed", name="Failed")
    logging.getLogger("prefect").propagate = True
    with caplog.at_level(logging.DEBUG):
        tell(SimpleNamespace(name="train"), SimpleNamespace(name="quick-fox", id="none"), state)
    assert "SCRIPTORIUM_WEBHOOK could not be told" in caplog.text
    assert "secret" not in caplog.text
