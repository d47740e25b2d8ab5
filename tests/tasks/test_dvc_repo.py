"""What is asked of DVC in this process: locks, damage, checkpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline import paths
from pipeline.fingerprint import digest, inputs_of
from pipeline.graph import load_graph
from tasks.dvc_repo import lock_entries, prune_checkpoints, repair, sort_lock, statuses
from tests.tasks.tiny_repo import dvc

STAGES = ["root", "left", "right", "join"]


def hold(repo: Path, pid: int, command: str) -> None:
    """Write what a process leaves in DVC's file of read and write locks when it is killed."""
    holder = {"pid": pid, "cmd": command}
    content = {"write": {str(repo / "left.txt"): holder}, "read": {str(repo / "root.txt"): [holder]}}
    (repo / ".dvc" / "tmp" / "rwlock").write_text(json.dumps(content))


def test_lock_entries_are_those_of_dvc_lock(done: Path) -> None:
    assert set(lock_entries(done)) == set(STAGES)
    assert lock_entries(done)["left"]["outs"][0]["path"] == "left.txt"


def test_a_lock_file_cut_anywhere_is_put_aside_and_everything_restored(done: Path) -> None:
    whole = (done / "dvc.lock").read_bytes()
    cut_line = whole.index(b"outs:", len(whole) // 2) + len(b"outs:\n")
    for size in (0, len(whole) // 2, cut_line, len(whole) - 3):
        (done / "dvc.lock").write_bytes(whole[:size])
        assert "damaged" in repair(done)[0]
        dvc(done, "repro")
        assert (done / "dvc.lock").read_bytes() == whole
    assert repair(done) == []


def test_a_list_of_file_locks_cut_short_is_removed_and_dvc_goes_on(done: Path) -> None:
    hold(done, os.getpid(), "another program")
    whole = (done / ".dvc" / "tmp" / "rwlock").read_bytes()
    for size in (0, len(whole) // 2):
        (done / ".dvc" / "tmp" / "rwlock").write_bytes(whole[:size])
        assert dvc(done, "repro", check=False).returncode != 0
        assert repair(done) == ["removed DVC's list of file locks, which it was interrupted in writing"]
        dvc(done, "repro")
    assert repair(done) == []


def test_entries_come_in_the_order_in_which_dvc_runs_the_stages(done: Path) -> None:
    (done / "dvc.lock").unlink()
    dvc(done, "repro", "--force")
    by_dvc = (done / "dvc.lock").read_text()
    for first in ("left", "right"):
        (done / "dvc.lock").unlink()
        for stage in ("root", first, "left", "right", "join"):
            dvc(done, "repro", "--single-item", stage)
        sort_lock(done)
        assert (done / "dvc.lock").read_text() == by_dvc
        assert all(status.up_to_date for status in statuses(done, STAGES).values())


def test_a_file_lock_of_a_living_dvc_is_waited_for_and_kept(done: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()", "repro", "left"], stdin=subprocess.PIPE) as other:
        hold(done, other.pid, "/somewhere/dvc repro left")
        assert repair(done) == []
        busy = statuses(done, STAGES)
        assert busy["right"].up_to_date and not busy["left"].up_to_date
        assert f"PID {other.pid}" in str(busy["left"].busy)
        other.communicate(b"\n")


@pytest.mark.parametrize("state", ["gone", "zombie", "another program"])
def test_a_file_lock_of_a_dead_process_is_released(done: Path, state: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    assert process.stdin is not None
    if state == "another program":
        hold(done, process.pid, "/somewhere/dvc repro left")
    else:
        hold(done, process.pid, "-c")
        process.stdin.close()
        if state == "gone":
            process.wait()
        while psutil.pid_exists(process.pid) and psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
    released = repair(done)
    assert len(released) == 1 and str(process.pid) in released[0] and "left.txt" in released[0]
    assert all(status.up_to_date for status in statuses(done, STAGES).values())
    process.kill()
    process.wait()


def test_checkpoints_go_once_the_lock_names_their_result(fresh: Path) -> None:
    spec = load_graph(fresh)["root"]
    used = paths.checkpoints("root", digest(inputs_of(spec, fresh)))
    other = paths.checkpoints("root", "of-other-inputs")
    for folder in (used, other):
        (folder / "step-10").mkdir(parents=True)
    prune_checkpoints(fresh, ["root"])
    assert used.exists() and other.exists()
    dvc(fresh, "repro", "root")
    prune_checkpoints(fresh, ["root"])
    assert not used.exists() and other.exists()
