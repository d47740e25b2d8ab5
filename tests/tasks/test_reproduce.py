"""One stage at a time: what happened is told truthfully, and nothing is left running."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pipeline import paths
from pipeline.files import md5_path
from pipeline.fingerprint import digest, inputs_of
from pipeline.graph import load_graph
from pipeline.syntax import known_versions
from tasks.dvc_repo import lock_entries, statuses
from tasks.reproduce import Outcome, Setting, not_reached, reproduce, settle
from tests.tasks.tiny_repo import set_number

Lines = tuple[list[str], Callable[[str], None]]


def replace_work(root: Path, code: str) -> None:
    (root / "work.py").write_text(code, encoding="utf-8")


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path / "repo", tmp_path / "scratch")


def test_ran_then_cached_then_restored(fresh: Path, setting: Setting, lines: Lines) -> None:
    found, log = lines
    assert reproduce("root", setting, log).what == "ran"
    assert found == ["root: never ran", "root says 1"]
    assert reproduce("root", setting, log).what == "cached"
    set_number(fresh, "root", 2)
    assert reproduce("root", setting, log).what == "ran"
    assert "root: root.number 1 → 2" in found
    set_number(fresh, "root", 1)
    assert reproduce("root", setting, log).what == "restored"
    assert (fresh / "root.txt").read_text() == "1"


def test_what_dvc_has_just_found_up_to_date_is_not_asked_again(done: Path, tmp_path: Path) -> None:
    set_number(done, "left", 7)
    left_alone = Setting(done, tmp_path / "scratch", up_to_date=frozenset({"left"}))
    assert reproduce("left", left_alone, print).what == "cached"
    assert reproduce("left", Setting(done, tmp_path / "scratch"), print).what == "ran"


def test_settling_prunes_what_led_to_each_result_and_notes_the_code(done: Path) -> None:
    graph = load_graph(done)
    folders = [paths.checkpoints(name, digest(inputs_of(graph[name], done))) for name in ("root", "left")]
    for folder in folders:
        (folder / "step-10").mkdir(parents=True)
    settle(done, ["root", "left"])
    assert not any(folder.exists() for folder in folders)
    assert md5_path(done / "work.py") in known_versions()


def test_a_failure_says_why_in_one_sentence_and_shows_the_last_lines(done: Path, setting: Setting) -> None:
    set_number(done, "left", -1)
    result = reproduce("left", setting, print)
    assert (result.what, result.kind, result.receipt) == ("failed", None, None)
    assert result.message == "number is -1, allowed are 0 and more"
    assert result.tail[:2] == ("left says -1", "about to fail")


def test_a_receipt_speaks_for_its_stage(done: Path, setting: Setting) -> None:
    receipt = {"stage": "left", "status": "failed", "kind": "transient", "message": "the host is down", "seconds": 1.5}
    replace_work(
        done,
        "import os, pathlib, sys\n"
        f"pathlib.Path(os.environ['SCRIPTORIUM_RECEIPT']).write_text({json.dumps(json.dumps(receipt))})\n"
        "sys.exit(1)\n",
    )
    result = reproduce("left", setting, print)
    assert (result.what, result.kind, result.message) == ("failed", "transient", "the host is down")
    assert result.receipt is not None and result.receipt.seconds == 1.5


EDITED_AT_THE_LAST_MOMENT = """
import json, os, pathlib
pathlib.Path("left.txt").write_text("made from 1")
receipt = {"stage": "left", "status": "executed", "key": "left-" + os.environ["INPUTS"][:16] + "-00000000"}
pathlib.Path(os.environ["SCRIPTORIUM_RECEIPT"]).write_text(json.dumps(receipt))
params = pathlib.Path("params.yaml")
params.write_text(params.read_text().replace("left: {number: 1}", "left: {number: 2}"))
"""


def test_a_result_is_never_recorded_under_inputs_that_were_edited_behind_the_stage(
    done: Path, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its last look, before DVC's record."""
    replace_work(done, EDITED_AT_THE_LAST_MOMENT)
    (done / "params.yaml").write_text("{root: {number: 1}, left: {number: 1}, right: {number: 1}, join: {number: 1}}")
    monkeypatch.setenv("INPUTS", digest(inputs_of(load_graph(done)["left"], done)))
    result = reproduce("left", setting, print)
    assert (result.what, result.kind) == ("failed", "user")
    assert result.message.startswith("an input changed while DVC recorded the result")
    assert "left" not in lock_entries(done)
    (status,) = statuses(done, ["left"]).values()
    assert status.reasons == ("never ran",) and not status.restorable
    set_number(done, "left", 1)
    replace_work(done, EDITED_AT_THE_LAST_MOMENT.replace("params.write_text", "str"))
    monkeypatch.setenv("INPUTS", digest(inputs_of(load_graph(done)["left"], done)))
    assert reproduce("left", setting, print).what == "ran"


def test_an_old_receipt_is_not_taken_for_a_new_one(done: Path, setting: Setting) -> None:
    setting.scratch.mkdir()
    setting.receipt_file("left").write_text('{"stage": "left", "status": "executed"}')
    (done / "left.txt").unlink()
    result = reproduce("left", setting, print)
    assert (result.what, result.receipt) == ("restored", None)


def test_the_environment_hands_down_places_and_the_parent(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "would override the parent")
    setting = Setting(fresh, tmp_path / "scratch", parent="flow-1", bars=True)
    replace_work(
        fresh,
        "import json, os, pathlib, sys\n"
        "names = ('SCRIPTORIUM_HOME', 'SCRIPTORIUM_PARENT', 'SCRIPTORIUM_PROGRESS', 'MLFLOW_RUN_ID')\n"
        "pathlib.Path(sys.argv[1]).write_text(json.dumps([os.environ.get(name) for name in names]))\n",
    )
    assert reproduce("root", setting, print).what == "ran"
    given = json.loads((fresh / "root.txt").read_text())
    assert given == [str(tmp_path / "home"), "flow-1", str(setting.progress_file("root")), None]


def test_broken_files_are_the_users_and_are_not_retried(fresh: Path, setting: Setting) -> None:
    (fresh / "params.yaml").write_text("root: [")
    result = reproduce("root", setting, print)
    assert (result.what, result.kind) == ("failed", "user") and "params.yaml" in result.message


SLEEP = "import os, subprocess, sys, time; print('pid', os.getpid(), flush=True); time.sleep(600)"


def pid_said(found: list[str]) -> int:
    while not (said := [line for line in found if line.startswith("pid ")]):
        time.sleep(0.05)
    return int(said[0].split()[1])


def test_stopping_leaves_no_process(fresh: Path, setting: Setting, lines: Lines) -> None:
    found, log = lines
    replace_work(fresh, SLEEP)
    results: list[Outcome] = []
    thread = threading.Thread(target=lambda: results.append(reproduce("root", setting, log)))
    thread.start()
    stage = psutil.Process(pid_said(found))
    family = [stage, *stage.parents()[:2]]
    setting.stop.set()
    thread.join()
    assert results[0].what == "stopped"
    assert not any(process.is_running() for process in family if process.pid != psutil.Process().pid)
    assert not (fresh / "root.txt").exists()


def test_a_stage_over_its_time_limit_is_stopped_and_fails(fresh: Path, tmp_path: Path, lines: Lines) -> None:
    found, log = lines
    replace_work(fresh, SLEEP)
    result = reproduce("root", Setting(fresh, tmp_path / "scratch", time_limit_s=4.0), log)
    assert (result.what, result.kind) == ("failed", None)
    assert result.message.startswith("not finished within its time limit of 4 s")
    assert not psutil.pid_exists(pid_said(found))


def test_something_left_in_the_background_does_not_hold_the_stage_up(
    fresh: Path, setting: Setting, lines: Lines
) -> None:
    found, log = lines
    replace_work(
        fresh,
        "import pathlib, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "print('pid', child.pid)\n"
        "pathlib.Path(sys.argv[1]).write_text('done')\n",
    )
    assert reproduce("root", setting, log).what == "ran"
    psutil.Process(pid_said(found)).kill()


def test_siblings_side_by_side(done: Path, setting: Setting) -> None:
    for name in ("left", "right"):
        set_number(done, name, 7)
    results: dict[str, Outcome] = {}
    threads = [
        threading.Thread(target=lambda name=name: results.update({name: reproduce(name, setting, print)}))
        for name in ("left", "right")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: result.what for name, result in results.items()} == {"left": "ran", "right": "ran"}
    assert reproduce("join", setting, print).what == "ran"
    assert all(reproduce(name, setting, print).what == "cached" for name in ("root", "left", "right", "join"))


def test_what_waited_for_a_failed_stage_was_not_reached(fresh: Path) -> None:
    outcomes = {"root": Outcome("root", "ran"), "left": Outcome("left", "failed"), "right": Outcome("right", "ran")}
    not_reached(load_graph(fresh), outcomes)
    assert (outcomes["join"].what, outcomes["join"].message) == ("not reached", "needs left")
