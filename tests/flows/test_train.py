"""The flow with real DVC, real git and a real Prefect server."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from rich.console import Console

import tasks.reproduce
from pipeline import ledger
from tasks.summarize import Row, save_rows
from tests.tasks.tiny_repo import set_number

PROJECT = Path(__file__).resolve().parents[2]
# the tiny repository's params.yaml is not the project's, so that nothing checks it
MAIN = "import sys; from flows.train import main; sys.exit(main(sys.argv[1:], check=lambda: None))"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-c", MAIN, *arguments]


@pytest.fixture
def environment(server: str, at_home: Path) -> dict[str, str]:
    """For a flow in a process of its own: it finds the one server by itself."""
    return {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        "SCRIPTORIUM_HOME": str(at_home),
        "PREFECT_HOME": str(at_home / "prefect"),
    }


@pytest.fixture
def flow_run(server: str, at_home: Path) -> Iterator[Any]:
    """Runs the flow in this process; gives its final state."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.train import train

    with temporary_settings({PREFECT_API_URL: f"{server}/api"}):
        yield lambda *arguments, **named: train(*arguments, return_state=True, **named)


def states(run_id: UUID | None) -> dict[str, tuple[str, str]]:
    """{task: (state's name, its message)} as the server has them; it learns of them a little later."""
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    with get_client(sync_client=True) as client:
        while True:
            runs = client.read_task_runs(flow_run_filter=FlowRunFilter.model_validate({"id": {"any_": [run_id]}}))
            found = {run.name: run.state for run in runs}
            if runs and all(state is not None and state.is_final() for state in found.values()):
                return {name: (str(state.name), str(state.message)) for name, state in found.items() if state}
            time.sleep(0.1)


def test_the_command_runs_everything_once_and_writes_what_dvc_alone_writes(
    fresh: Path, templates: Path, environment: dict[str, str]
) -> None:
    first = subprocess.run(command(), env=environment, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert [line.split()[:2] for line in first.stdout.splitlines()[1:5]] == [
        [n, "ran"] for n in ("root", "left", "right", "join")
    ]
    assert [line.split()[:2] for line in first.stdout.splitlines()[-3:-1]] == [["make", "chat"], ["make", "ui"]]
    assert "left says 1" in first.stderr  # the stage's own line, in the log
    assert (fresh / "dvc.lock").read_bytes() == (templates / "done" / "dvc.lock").read_bytes()
    second = subprocess.run(command(), env=environment, capture_output=True, text=True)
    assert second.returncode == 0 and second.stdout.count(" cached ") == 4


def test_cached_restored_and_ran_are_states_of_their_own(done: Path, flow_run: Any) -> None:
    (done / "left.txt").unlink()
    set_number(done, "right", 3)
    final = flow_run()
    assert final.is_completed() and final.message == "1 cached, 1 restored, 2 ran"
    found = {name: state for name, (state, _) in states(final.state_details.flow_run_id).items() if "plan" not in name}
    assert found == {"root": "Cached", "left": "Restored", "right": "Completed", "join": "Completed"}


def test_a_failed_stage_fails_the_flow_its_siblings_finish(done: Path, environment: dict[str, str]) -> None:
    set_number(done, "left", -1)
    set_number(done, "right", 5)
    result = subprocess.run(command("--parallel", "1"), env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    happened = {line.split()[0]: line.split(maxsplit=1)[1].split("  ")[0] for line in result.stdout.splitlines()[1:5]}
    assert happened == {"root": "cached", "left": "failed", "right": "ran", "join": "not reached"}
    assert result.stderr.splitlines()[-1] == "error: left: number is -1, allowed are 0 and more"
    assert "Traceback" not in result.stderr and "about to fail" in result.stderr


def test_the_failed_task_and_its_flow_have_the_last_lines_in_their_messages(done: Path, flow_run: Any) -> None:
    set_number(done, "left", -1)
    final = flow_run(["left"])
    assert final.is_failed() and final.message.splitlines()[:3] == [
        "left: number is -1, allowed are 0 and more", "left says -1", "about to fail",
    ]  # fmt: skip
    name, message = states(final.state_details.flow_run_id)["left"]
    assert name == "Failed" and message.splitlines()[:3] == [
        "number is -1, allowed are 0 and more", "left says -1", "about to fail",
    ]  # fmt: skip


@pytest.mark.parametrize(("kind", "tries"), [("transient", 2), ("user", 1)])
def test_only_transient_failures_are_tried_again(
    fresh: Path, flow_run: Any, monkeypatch: pytest.MonkeyPatch, kind: str, tries: int
) -> None:
    monkeypatch.setattr(tasks.reproduce, "RETRY_DELAY_S", 0.1)
    receipt = json.dumps({"stage": "root", "status": "failed", "kind": kind, "message": "the first try fails"})
    (fresh / "work.py").write_text(
        "import os, pathlib, sys\n"
        "tries = pathlib.Path('tries')\n"
        "tries.write_text('x' + (tries.read_text() if tries.exists() else ''))\n"
        "if tries.read_text() == 'x':\n"
        f"    pathlib.Path(os.environ['SCRIPTORIUM_RECEIPT']).write_text({receipt!r})\n"
        "    sys.exit(1)\n"
        "pathlib.Path(sys.argv[1]).write_text('done')\n"
    )
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=120, color_system=None, legacy_windows=False)
    monkeypatch.setattr("flows.train.Console", lambda **_: terminal)
    final = flow_run(["root"])
    told = [line for line in screen.getvalue().splitlines() if "root: " in line and " in " in line]
    assert len(told) == 1 and ("root: ran in" if tries == 2 else "root: failed in") in told[0]  # only how it ended
    assert len((fresh / "tries").read_text()) == tries and final.is_completed() == (tries == 2)


# a stage's record in short: the journal, handed to the flow's follower, and the receipt that names it
RECORD = """
import os, pathlib, sys
from pipeline.journal import Journal
from pipeline.receipt import Receipt
from pipeline.tracking import Follower
run = Journal("root-recorded")
run.write("start", name="root", parent=os.environ["SCRIPTORIUM_PARENT"], params={}, tags={"dvc.stage": "root"})
follower = Follower(run.key, parent=os.environ["SCRIPTORIUM_PARENT"])
run.end("FINISHED")
follower.finish()
assert follower.process is None
Receipt("root", "executed", key=run.key).write()
pathlib.Path(sys.argv[1]).write_text("done")
"""


def test_the_table_names_the_runs_that_the_flow_s_follower_has_sent(fresh: Path, environment: dict[str, str]) -> None:
    (fresh / "work.py").write_text(RECORD)
    settings = environment | {"SCRIPTORIUM_SYNC": "1"}
    done = subprocess.run(command("--stages", "root"), env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run_id = ledger.newest(key="root-recorded")["run_id"]
    assert done.stdout.splitlines()[1].split()[-1] == run_id[:12]


# left and right each say that they are there; together they wait for each other, one at a time nobody may be there
MEET = """
import pathlib, sys, time
out = pathlib.Path(sys.argv[1])
others = {"left.txt": "right", "right.txt": "left"}
if out.name in others:
    here, there = pathlib.Path(out.stem + ".here"), pathlib.Path(others[out.name] + ".here")
    here.touch()
    if pathlib.Path("together").exists():
        while not there.exists():
            time.sleep(0.05)
    else:
        time.sleep(0.5)
        assert not there.exists()
        here.unlink()
out.write_text("done")
"""


@pytest.mark.parametrize("parallel", [1, 2])
def test_siblings_run_side_by_side_up_to_parallel(fresh: Path, flow_run: Any, parallel: int) -> None:
    (fresh / "work.py").write_text(MEET)
    if parallel == 2:
        (fresh / "together").touch()
    final = flow_run(parallel=parallel, time_limit_s=60.0)
    assert final.is_completed(), final.message


SLEEP = "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(600)"


def sleeping_stage(repo: Path, flow: subprocess.Popen[str]) -> psutil.Process:
    while not ((repo / "pid").exists() and (repo / "pid").read_text()):
        assert flow.poll() is None
        time.sleep(0.05)
    return psutil.Process(int((repo / "pid").read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_flow_that_is_ended_leaves_no_process(
    fresh: Path, environment: dict[str, str], number: signal.Signals
) -> None:
    (fresh / "work.py").write_text(SLEEP)
    with subprocess.Popen(command(), env=environment, stdout=-1, stderr=-1, text=True) as flow:
        stage = sleeping_stage(fresh, flow)
        family = [stage, *(parent for parent in stage.parents() if flow.pid in [p.pid for p in parent.parents()])]
        flow.send_signal(number)
        out, error = flow.communicate()
    assert len(family) >= 3, "stage, dvc and supervisor; between the first two, some shells stay"
    psutil.wait_procs(family, timeout=30)
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family)
    if number != signal.SIGKILL:
        assert flow.returncode == 130 and "stopped" in out and "Traceback" not in error
    assert not (fresh / "root.txt").exists()


def test_cancelled_on_the_server(fresh: Path, server: str, environment: dict[str, str], at_home: Path) -> None:
    from prefect import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.states import Cancelling

    (fresh / "work.py").write_text(SLEEP)
    with subprocess.Popen(command(), env=environment, stdout=-1, stderr=-1, text=True) as flow:
        stage = sleeping_stage(fresh, flow)
        newest = max((at_home / "flows").iterdir(), key=lambda folder: folder.stat().st_mtime).name
        with temporary_settings({PREFECT_API_URL: f"{server}/api"}), get_client(sync_client=True) as client:
            client.set_flow_run_state(UUID(newest), Cancelling(), force=True)
            flow.communicate()
            final = client.read_flow_run(UUID(newest)).state
    assert flow.returncode == 130 and not stage.is_running()
    assert final is not None and final.is_cancelled()


def test_the_rows_are_those_of_the_state_s_own_flow_run(at_home: Path) -> None:
    from prefect.client.schemas.objects import StateDetails
    from prefect.states import Completed

    from flows.train import _rows_of

    runs = {name: uuid4() for name in ("mine", "newer")}
    for stage, run in runs.items():
        save_rows(at_home / "flows" / str(run) / "rows.json", [Row(stage, "ran", 1.0)])
    mine = Completed(state_details=StateDetails(flow_run_id=runs["mine"]))
    assert [row.stage for row in _rows_of(mine, 0.0)] == ["mine"]
    assert [row.stage for row in _rows_of(None, 0.0)] == ["newer"]


def test_wrong_arguments_are_one_sentence(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from flows.train import main

    assert main(["--stages", "lefft"], check=lambda: None) == 1
    assert main(["--parallel", "0"], check=lambda: None) == 1
    assert main([]) == 1  # the real check: this params.yaml is not the project's
    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == "error: dvc.yaml has no stage 'lefft'; allowed are root, left, right, join"
    assert errors[1] == "error: --parallel is 0: allowed are 1 and more"
    assert errors[2].startswith("error: ") and "params.yaml" in errors[2]


def test_the_plan_alone_runs_nothing(fresh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from flows.train import main

    assert main(["--plan"], check=lambda: None) == 0
    assert capsys.readouterr().out.splitlines()[0] == "root   run      never ran"
    assert not (fresh / "dvc.lock").exists()


def test_room_for_stages(tmp_path: Path, at_home: Path) -> None:
    from flows.train import slots

    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert processors is not None
    for threads, many, room in ((1, 1, processors), (10_000, 1, 1), (1, 2, max(1, processors // 2)), (1, 10_000, 1)):
        (tmp_path / "params.yaml").write_text(f"runtime: {{threads: {threads}, processes: {many}}}\n")
        assert slots(tmp_path) == room
    (tmp_path / "params.yaml").write_text("other: 1\n")
    assert slots(tmp_path) == 1
