"""The servers that are really started listen on the loopback only, and no password stands in their command lines."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from flows import services
from tests.flows.test_services import free_port
from tests.listening import all_loopback, listening


def test_prefect_listens_on_the_loopback_only(server: str, at_home: Path) -> None:
    found = services.running(services.PREFECT)
    assert found is not None and found.url in server
    sockets = listening(psutil.Process(found.pid))
    assert found.port in sockets and all_loopback(sockets)


def test_mlflow_too_and_its_databases_address_is_in_no_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_PORT", str(free_port()))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    try:
        services.start(services.MLFLOW)
        found = services.running(services.MLFLOW)
        assert found is not None
        process = psutil.Process(found.pid)
        sockets = listening(process)
        assert found.port in sockets and all_loopback(sockets)
        lines = [" ".join(member.cmdline()) for member in [process, *process.children(recursive=True)]]
        assert lines and not any("sqlite:" in line for line in lines)
        assert (tmp_path / "mlflow.db").is_file()
    finally:
        services.stop(services.MLFLOW)
