"""Results pushed to a remote and pulled from it, as `make push` and `make pull` do; S3: tests/services/."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from tasks.share import main
from tests.tasks.tiny_repo import dvc


@pytest.fixture
def clone(templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where everything ran; also the current folder. No variable names a remote."""
    for variable in ("SCRIPTORIUM_REMOTE", "AWS_ENDPOINT_URL", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    shutil.copytree(templates / "done", tmp_path / "clone")
    monkeypatch.chdir(tmp_path / "clone")
    return tmp_path / "clone"


def test_what_one_pushes_the_other_pulls_and_runs_nothing(
    clone: Path, templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCRIPTORIUM_REMOTE", str(tmp_path / "remote"))
    assert main(["push"]) == 0 and "files pushed: commit dvc.lock" in capsys.readouterr().out
    other = tmp_path / "other"
    shutil.copytree(templates / "fresh", other)
    shutil.copy(clone / "dvc.lock", other)
    monkeypatch.chdir(other)
    assert main(["pull"]) == 0
    assert (other / "join.txt").read_bytes() == (clone / "join.txt").read_bytes()
    assert "Running stage" not in dvc(other, "repro").stdout
    assert str(tmp_path / "remote") not in (other / ".dvc" / "config").read_text(), (
        "the team's file is not ours to edit"
    )
    monkeypatch.delenv("SCRIPTORIUM_REMOTE")
    assert main(["push"]) == 0, "the remote is DVC's default from now on"


def test_without_a_remote_it_says_how_to_name_one(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push"]) == 1
    assert capsys.readouterr().err.startswith("error: there is no remote to share results with: set SCRIPTORIUM_REMOTE")


def test_an_s3_server_that_is_not_there_is_one_sentence(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://me:secret@127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("SCRIPTORIUM_REMOTE", "s3://scriptorium/dvc")
        assert main(["pull"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: AWS_ENDPOINT_URL (http://127.0.0.1:") and "refused" in told
    assert "secret" not in told and len(told.splitlines()) == 1
