"""What the doctor finds in the project's own files, clears, and lets alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from pipeline import doctor, journal, paths
from pipeline.doctor import CLEARED, NOTE, OK, YOU, Finding
from pipeline.journal import Journal
from pipeline.locks import hold, this_process

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "workspace"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path / "home"))
    return root


def one(found: Iterable[Finding]) -> tuple[str, str]:
    (finding,) = found
    return finding.state, finding.text


def left_behind(name: str, pid: int, since: float) -> Path:
    """A lock's files, as a process leaves them that is killed."""
    file = paths.locks() / f"{name}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    file.with_suffix(".json").write_text(json.dumps({**this_process(), "pid": pid, "since": since}))
    return file


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_no_lock() -> None:
    assert one(doctor.locks(True)) == (OK, "none was left behind")


@pytest.mark.parametrize("clear", [True, False])
def test_a_lock_of_a_dead_process(clear: bool) -> None:
    file = left_behind("pretrain-x", pid := dead_pid(), time.time())
    state, text = one(doctor.locks(clear))
    assert state == (CLEARED if clear else NOTE)
    assert f"pretrain-x was left by process {pid} on " in text and "which is dead" in text
    assert file.exists() == file.with_suffix(".json").exists() == (not clear)


def test_a_lock_whose_process_number_is_in_use_again() -> None:
    """This very process has the number now, and began after the lock was taken."""
    left_behind("pretrain-x", os.getpid(), time.time() - 1e6)
    state, text = one(doctor.locks(True))
    assert state == CLEARED
    assert "its number is another process's by now" in text
    assert not list(paths.locks().iterdir())


def test_a_lock_that_is_held_is_let_alone() -> None:
    with hold("pretrain-x"):
        for clear in (True, False):
            state, text = one(doctor.locks(clear))
            assert (state, text.startswith(f"pretrain-x is held by process {os.getpid()} ")) == (NOTE, True)
        assert (paths.locks() / "pretrain-x.lock").exists()


def test_a_lock_that_a_child_of_a_dead_process_still_holds(tmp_path: Path) -> None:
    """Its opener is named: only a person knows whether it may be ended."""
    code = "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, 2); print(flush=True); input()"
    file = left_behind("pretrain-x", dead_pid(), time.time())
    with subprocess.Popen([sys.executable, "-c", code, str(file)], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        state, text = one(doctor.locks(True))
        assert (state, f"end process {child.pid} " in text) == (YOU, True)
        child.communicate("\n")


def test_half_written_files(workspace: Path) -> None:
    dead, alive = dead_pid(), os.getpid()
    partial = paths.checkpoints("pretrain", "f" * 32) / "model" / "abc" / "step-5.partial"
    mine = workspace / f".params.yaml.{alive}-1.tmp"
    gone = [
        workspace / f".params.yaml.{dead}-1.tmp",
        workspace / "reports" / "toy" / f".metrics.json.{dead}-1.tmp",
        partial,
        paths.staging("pretrain"),
        paths.parked("pretrain", "x").with_name("x.tmp"),
    ]
    for path in [*gone, mine]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if path in (partial, gone[3], gone[4]) else path.touch()
    looked = list(doctor.half_written(workspace, False))
    assert [finding.state for finding in looked] == [NOTE] * len(gone) and all(path.exists() for path in gone)
    with hold("stage-pretrain", place=paths.staging("x").parent), hold(f"pretrain-{'f' * 32}"):
        assert {finding.state for finding in doctor.half_written(workspace, True)} == {CLEARED}
        assert partial.exists() and paths.staging("pretrain").exists(), "somebody is writing them"
    assert {finding.state for finding in doctor.half_written(workspace, True)} == {CLEARED}
    assert mine.exists() and not any(path.exists() for path in gone)
    assert one(doctor.half_written(workspace, True)) == (OK, "nothing")


def test_databases(database: str) -> None:
    whole = Path(database.removeprefix("sqlite:///")).read_bytes()
    paths.home().mkdir()
    paths.mlflow_db().write_bytes(whole)
    assert one(doctor.databases(True)) == (OK, "mlflow.db is whole")
    paths.mlflow_db().write_bytes(whole[: len(whole) // 2])
    state, text = one(doctor.databases(True))
    assert (state, text.startswith("mlflow.db is damaged (")) == (YOU, True)
    paths.mlflow_db().unlink()
    memory = paths.home() / "digests.db"
    memory.write_bytes(b"no database at all, " * 100)
    assert one(doctor.databases(False))[0] == NOTE and memory.exists()
    assert one(doctor.databases(True))[0] == CLEARED and not memory.exists()


def test_journals() -> None:
    for key in ("mine", "dead"):
        process = this_process() if key == "mine" else {**this_process(), "pid": dead_pid()}
        Journal(key).write("start", process=process)
    with (paths.journal() / "mine" / "events.jsonl").open("ab") as file:
        file.write(b"torn {\n")
    killed, said, ledger = doctor.journals(True)
    assert (killed.state, killed.text) == (CLEARED, "1 runs whose process had died are marked KILLED")
    assert (said.state, said.text.startswith("2 journals, 2 not sent yet")) == (NOTE, True)
    assert said.text.endswith("1 torn lines left out") and ledger.state == OK
    assert [journal.last(key)["type"] for key in ("mine", "dead")] == ["start", "end"]
    Journal("headless").metrics({"loss": 1.0}, 1)
    states = [finding.state for finding in doctor.journals(True)]
    assert states == [YOU, NOTE, OK]


def test_versions(tmp_path: Path) -> None:
    from importlib import metadata

    (tmp_path / "requirements.lock").write_text(f"psutil=={metadata.version('psutil')}\nno-such-thing==1 ; x\n")
    python, packages = doctor.versions(tmp_path)
    assert python.state == OK
    assert (packages.state, packages.text.split(":")[0]) == (YOU, "no-such-thing 1 is missing")


def test_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [finding.check for finding in doctor.disk()] == ["disk"] * 3
    monkeypatch.setattr(doctor, "LEAST_FREE_BYTES", 1e30)
    assert {finding.state for finding in doctor.disk()} == {YOU}
