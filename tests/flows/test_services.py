"""Servers in the background: ours are found again and ended, others are left alone."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from flows import services
from flows.services import HOST, Service, main, running, start, stop

# stands for Prefect or MLflow: answers every GET
WEB = """
import http.server, sys
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A tiny server of ours."""
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("WEB_PORT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    service = Service("web", "WEB_PORT", free_port(), "/", lambda port: [sys.executable, "-c", WEB, str(port)])
    yield service
    stop(service)


def test_started_once_found_again_and_stopped(web: Service) -> None:
    assert running(web) is None and not stop(web)
    address = start(web)
    first = running(web)
    assert start(web) == address == f"http://127.0.0.1:{web.port}"
    assert first is not None and running(web) == first
    assert stop(web) and running(web) is None and not psutil.pid_exists(first.pid)


def test_it_listens_on_the_loopback_only(web: Service) -> None:
    start(web)
    found = running(web)
    assert found is not None
    listening = [c.laddr.ip for c in psutil.Process(found.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert listening == [HOST]


def test_a_port_in_use_is_one_sentence_that_names_port_and_variable(
    web: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv("WEB_PORT", str(port))
        with pytest.raises(ValueError, match=f"port {port} .* in use by another program: set WEB_PORT to a free one"):
            start(web)
    monkeypatch.setenv("WEB_PORT", "80000")
    with pytest.raises(ValueError, match="WEB_PORT is '80000': allowed are 1 to 65535"):
        start(web)


def test_another_port_than_the_running_one_is_not_taken_silently(web: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    start(web)
    monkeypatch.setenv("WEB_PORT", str(free_port()))
    with pytest.raises(ValueError, match="end it with `make stop` first"):
        start(web)


def test_a_process_that_only_has_the_same_number_is_neither_used_nor_stopped(web: Service) -> None:
    with subprocess.Popen([sys.executable, "-c", WEB, str(web.port)]) as other:
        for wrong in ({"created": 1.0}, {"home": "/another/copy"}):
            facts = {"pid": other.pid, "created": psutil.Process(other.pid).create_time(), "port": web.port}
            web.folder.mkdir(parents=True, exist_ok=True)
            (web.folder / "server.json").write_text(json.dumps({**facts, "home": str(web.folder.parent), **wrong}))
            assert running(web) is None and not stop(web)
        assert other.poll() is None
        other.kill()


def test_a_server_that_dies_at_once_is_an_error_that_names_its_log(web: Service) -> None:
    broken = Service("web", "WEB_PORT", web.port, "/", lambda port: [sys.executable, "-c", "raise SystemExit('no')"])
    with pytest.raises(TimeoutError, match=r"did not start .*server\.log"):
        start(broken)
    assert broken.log.read_text() == "no\n"


def test_servers_elsewhere_are_used_as_named(web: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example/api")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    assert services.ui() == {"mlflow": "https://mlflow.example", "prefect": "http://prefect.example"}
    for api in ("http://prefect.example/api", "https://api.prefect.cloud/api/accounts/A/workspaces/W"):
        monkeypatch.setenv("PREFECT_API_URL", api)
        assert services.prefect_api() == api


def test_a_prefect_of_another_project_is_not_ours(web: Service) -> None:
    """It answers on the customary port: we take another one."""
    with subprocess.Popen([sys.executable, "-c", WEB, str(web.port)]) as other:
        while not services.answers(web, web.port):
            assert other.poll() is None
        flexible = replace(web, flexible=True)
        assert start(flexible) != f"http://{HOST}:{web.port}"
        assert running(flexible) == running(web)  # and remembered
        other.kill()


def test_the_command_line(web: Service, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    assert capsys.readouterr().out.split() == ["mlflow", "not", "running", "prefect", "not", "running"]
    assert main(["stop"]) == 0
    assert capsys.readouterr().out.count("was not running") == 2
