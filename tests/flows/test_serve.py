"""Serving refuses in one sentence, and a server that fails leaves nothing. Answers: tests/serving/test_mlflow.py."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from flows import serve
from tasks import registry


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("ASSISTANT_PORT", "")
    return tmp_path


def test_what_cannot_be_served_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.main(["assistant"]) == 1
    assert "scriptorium-assistant@champion: there is no such version" in capsys.readouterr().err
    assert serve.main(["base"]) == 1
    assert "'base' is not served: assistant, classifier are" in capsys.readouterr().err
    assert serve.main(["--workers", str((os.cpu_count() or 1) + 1)]) == 1
    assert "as many as there are processors" in capsys.readouterr().err


def test_a_server_that_ends_at_once_leaves_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The champion's model has been deleted from the disk."""
    server = registry.registry()
    server.client.create_registered_model("scriptorium-assistant")
    model = server.client.create_logged_model(server.experiment_id, name="assistant")
    version = server.client.create_model_version(
        "scriptorium-assistant", f"models:/{model.model_id}", model_id=model.model_id
    )
    server.client.set_registered_model_alias("scriptorium-assistant", "champion", version.version)
    assert serve.main(["assistant"]) == 1
    assert f"ended at once: {home / 'assistant' / 'server.log'} says why" in capsys.readouterr().err
    assert not [child for child in psutil.Process().children(recursive=True) if "mlflow" in " ".join(child.cmdline())]
