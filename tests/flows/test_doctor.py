"""make doctor over a real DVC repository: what a kill left there, a damaged cache, ports."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from flows import doctor
from pipeline import earlier
from pipeline.doctor import CLEARED, NOTE, OK, YOU
from pipeline.graph import read_mapping
from tests.tasks.tiny_repo import dvc


def test_locks_of_dvc_that_a_process_left_whose_number_is_in_use_again(done: Path) -> None:
    """This process has the number; its command line says something else."""
    rwlock = done / ".dvc" / "tmp" / "rwlock"
    holder = {"pid": os.getpid(), "cmd": "/somewhere/dvc repro left"}
    rwlock.write_text(json.dumps({"write": {str(done / "left.txt"): holder}, "read": {}}))
    assert [finding.state for finding in doctor.dvc_locks(done, False)] == [NOTE] and "left.txt" in rwlock.read_text()
    (finding,) = doctor.dvc_locks(done, True)
    assert finding.state == CLEARED and f"held by the dead process {os.getpid()}" in finding.text
    (finding,) = doctor.dvc_locks(done, True)
    assert finding.state == OK


def test_a_lock_file_of_dvc_cut_short(done: Path) -> None:
    text = (done / "dvc.lock").read_text()
    (done / "dvc.lock").write_text(text[:-30])
    (finding,) = doctor.dvc_locks(done, True)
    assert (finding.state, "renamed dvc.lock.damaged" in finding.text) == (CLEARED, True)
    dvc(done, "repro")
    assert (done / "dvc.lock").read_text() == text


def test_bytes_of_the_cache_that_are_not_those_of_their_name(done: Path) -> None:
    """left.txt and right.txt are the same bytes."""
    (finding,) = doctor.cache(done, True, doctor.CACHE_BYTES)
    assert (finding.state, finding.text.startswith("3 files, ")) == (OK, True)
    md5 = read_mapping(done / "dvc.lock")["stages"]["left"]["outs"][0]["md5"]
    file = earlier.cached_file(earlier.cache_folder(done), md5)
    file.chmod(0o644)
    file.write_text("rotten")
    assert [finding.state for finding in doctor.cache(done, False, doctor.CACHE_BYTES)] == [NOTE] and file.exists()
    assert [finding.state for finding in doctor.cache(done, True, doctor.CACHE_BYTES)] == [CLEARED]
    assert not file.exists()
    left = list(doctor.cache(done, True, 1))
    assert "1 more (" in left[0].text and "are read with --all" in left[0].text


def test_a_port_that_somebody_else_has(at_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("MLFLOW_PORT", str(taken.getsockname()[1]))
        found = list(doctor.ports())
    assert [finding.state for finding in found] == [OK, YOU]
    assert "set MLFLOW_PORT to a free one" in found[1].text


def test_the_command_tells_whether_a_person_is_needed(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """This repository's params.yaml is not the project's."""
    (done / "requirements.lock").write_text("")
    assert doctor.main(["--look"]) == 1
    said = capsys.readouterr()
    assert said.err == "" and "you      parameters" in said.out and said.out.endswith("need you\n")
    for check in (
        "python",
        "packages",
        "disk",
        "ports",
        "locks",
        "dvc",
        "half-written",
        "databases",
        "journals",
        "cache",
    ):
        assert f" {check} " in said.out
