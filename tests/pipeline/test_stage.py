"""What surrounds a stage: nothing half-written, nothing under the wrong inputs, and a clear word in every case."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import journal, ledger, outputs, paths
from pipeline.files import md5_path, remove_tree
from pipeline.fingerprint import digest, inputs_of, outputs_of
from pipeline.graph import load_graph
from pipeline.receipt import Receipt, read_receipt
from pipeline.signals import GRACE_S, grace_s
from pipeline.stage import Stage, run

ROOT = Path(__file__).resolve().parents[2]
DVC_YAML = """
stages:
  toy:
    cmd: python toy.py
    params: [seed]
    deps: [input.txt, toy.py]
    outs: [models/toy]
    metrics: [reports/toy/metrics.json]
"""


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one small stage, whose record stays in the journal."""
    monkeypatch.chdir(tmp_path)
    for name in ("SCRIPTORIUM_HOME", "SCRIPTORIUM_TRACEBACK", "SCRIPTORIUM_PARENT", "MLFLOW_TRACKING_URI", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCRIPTORIUM_SYNC", "0")
    monkeypatch.setenv("SCRIPTORIUM_RECEIPT", str(tmp_path / "receipt.json"))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    (tmp_path / "input.txt").write_text("in")
    (tmp_path / "toy.py").write_text("")
    return tmp_path


def toy(stage: Stage) -> None:
    folder = stage.out("models/toy")
    folder.mkdir()
    (folder / "weights").write_text(Path("input.txt").read_text().upper())
    stage.log_metrics({"loss": 0.5}, 1)
    stage.log_dataset("toy", folder, "train")
    stage.log_costs({"tokens_per_second": 100.0})
    stage.write_metrics({"loss": 1 / 3, "parts": {"a": 2}, "note": "x"})


def receipt() -> Receipt:
    found = read_receipt("receipt.json")
    assert found is not None
    return found


def of_type(key: str | None, type: str) -> list[dict[str, object]]:
    assert key is not None
    return [event for event, _ in journal.events(key) if event["type"] == type]


def files() -> list[str]:
    """Everything a person sees in the workspace."""
    found = [path.as_posix() for path in Path().rglob("*") if path.is_file()]
    return sorted(path for path in found if not path.startswith(".scriptorium"))


BEFORE = ["dvc.yaml", "input.txt", "params.yaml", "receipt.json", "toy.py"]
AFTER = sorted([*BEFORE, "models/toy/weights", "reports/toy/metrics.json"])


def test_a_stage_that_succeeds() -> None:
    assert run("toy", toy) == 0
    assert files() == AFTER
    assert Path("models/toy/weights").read_text() == "IN"
    assert json.loads(Path("reports/toy/metrics.json").read_text())["loss"] == 1 / 3
    assert not paths.staging("toy").exists()
    told = receipt()
    assert (told.status, told.kind, told.run_id) == ("executed", None, None)
    assert told.metrics == {"loss": 1 / 3, "parts": {"a": 2}, "note": "x"}
    assert set(told.costs) == {"seconds", "user_cpu_seconds", "peak_memory_bytes", "tokens_per_second"}
    spec = load_graph()["toy"]
    inputs, made = digest(inputs_of(spec)), digest(outputs_of(spec))
    assert ledger.newest(stage="toy", inputs=inputs, outputs=made) == {
        "stage": "toy", "inputs": inputs, "outputs": made, "key": told.key, "run_id": None,
    }  # fmt: skip


def test_what_the_journal_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTORIUM_PARENT", "the-flow")
    assert run("toy", toy) == 0
    key = receipt().key
    (begun,) = of_type(key, "start")
    assert (begun["name"], begun["parent"], begun["params"]) == ("toy", "the-flow", {"seed": 123})
    assert [(e["name"], e["path"], e["context"]) for e in of_type(key, "dataset")] == [
        ("input.txt", "input.txt", "input"),
        ("toy", "models/toy", "train"),
    ]
    assert of_type(key, "dataset")[1]["digest"] == md5_path("models/toy")
    values = {name: value for e in of_type(key, "metrics") for name, value in e["values"].items()}  # type: ignore[attr-defined]
    assert {name: values[name] for name in ("loss", "final/loss", "final/parts/a", "cost/tokens_per_second")} == {
        "loss": 0.5, "final/loss": 1 / 3, "final/parts/a": 2.0, "cost/tokens_per_second": 100.0,
    }  # fmt: skip
    assert [e["values"] for e in of_type(key, "tags")] == [{"dvc.outputs": digest(outputs_of(load_graph()["toy"]))}]
    assert [e["status"] for e in of_type(key, "end")] == ["FINISHED"]


@pytest.mark.parametrize(
    ("error", "kind", "line"),
    [
        (ValueError("input.txt is empty"), "user", "toy: input.txt is empty"),
        (ConnectionError("no answer from x"), "transient", "toy: no answer from x"),
        (FloatingPointError("NaN at step 3"), "numeric", "toy: NaN at step 3"),
        (OSError(errno.ENOSPC, "full", "/models/x"), "user", "toy: no space left on the disk: /models/x"),
        (KeyError("weights"), "bug", "toy: KeyError: 'weights' (a fault of the program; see "),
    ],
)
def test_a_stage_that_fails(error: Exception, kind: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(stage: Stage) -> None:
        toy(stage)
        raise error

    assert run("toy", fails) == 1
    assert files() == BEFORE
    assert not paths.staging("toy").exists()
    told = capsys.readouterr().err
    assert told.startswith(line)
    assert told.count("\n") == 1
    assert (receipt().status, receipt().kind) == ("failed", kind)
    assert receipt().costs["seconds"] >= 0
    assert [e["status"] for e in of_type(receipt().key, "end")] == ["FAILED"]
    assert type(error).__name__ in (paths.logs() / "toy.log").read_text()
    key = receipt().key
    assert run("toy", toy) == 0
    assert receipt().key == key  # the retry goes on in the same MLflow run


def test_a_traceback_for_those_who_ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SCRIPTORIUM_TRACEBACK", "1")
    assert run("toy", lambda stage: print(stage.out("data/undeclared"))) == 1
    told = capsys.readouterr().err
    assert "Traceback (most recent call last)" in told
    assert "data/undeclared is no output of toy; dvc.yaml lists models/toy, reports/toy/metrics.json" in told


@pytest.mark.parametrize("path", ["models", "models/toys", "models/toy/../other", "../models/toy"])
def test_only_declared_outputs_have_a_place(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("toy", lambda stage: print(stage.out(path))) == 1
    assert "is no output of toy" in capsys.readouterr().err


def test_bad_parameters_are_listed_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("params.yaml").read_text().replace("seed: 123", "seed: -1\nsead: 1", 1)
    Path("params.yaml").write_text(text)
    assert run("toy", toy) == 1
    told = capsys.readouterr().err
    assert "seed" in told
    assert "sead is not a known parameter" in told
    assert (receipt().status, receipt().kind, receipt().key) == ("failed", "user", None)


def test_an_output_that_was_not_written_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("toy", lambda stage: stage.write_metrics({"loss": 1})) == 1
    assert "the stage ended without writing models/toy" in capsys.readouterr().err
    assert files() == BEFORE


def test_a_metric_that_is_no_number_is_numeric() -> None:
    assert run("toy", lambda stage: stage.write_metrics({"a": {"loss": float("nan")}})) == 1
    assert (receipt().kind, receipt().message) == ("numeric", "the metric a.loss is nan")


def test_outputs_are_moved_all_or_none(workspace: Path) -> None:
    """The second rename fails, since a file stands where its folder should be: the first is taken back."""
    staging = workspace / ".scriptorium" / "staging" / "x"
    for place, text in ((staging, "new"), (workspace, "old")):
        (place / "one").mkdir(parents=True)
        (place / "one" / "file").write_text(text)
    (staging / "two").mkdir()
    (staging / "two" / "file").write_text("new")
    (workspace / "two").write_text("in the way")
    with pytest.raises(FileExistsError):
        outputs.publish(["one", "two/file"], staging, workspace)
    assert (workspace / "one" / "file").read_text() == "old"
    assert (staging / "one" / "file").read_text() == "new"
    (workspace / "two").unlink()
    outputs.publish(["one", "two/file"], staging, workspace)
    assert (workspace / "one" / "file").read_text() == (workspace / "two" / "file").read_text() == "new"


def _edit_input() -> None:
    Path("input.txt").write_text("edited")


def _edit_seed() -> None:
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("seed: 123", "seed: 124"))


@pytest.mark.parametrize(("edit", "named"), [(_edit_input, "input.txt"), (_edit_seed, "seed")])
def test_inputs_edited_meanwhile(edit: Callable[[], None], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The result waits, with its MLflow run, until the edit is undone."""
    runs = []

    def edited(stage: Stage) -> None:
        runs.append(stage.fingerprint)
        toy(stage)
        if len(runs) == 1:
            edit()

    before = {name: Path(name).read_bytes() for name in ("input.txt", "params.yaml")}
    assert run("toy", edited) == 1
    assert files() == BEFORE
    assert capsys.readouterr().err.startswith(f"toy: {named} changed while the stage ran")
    parked = receipt()
    assert (parked.status, parked.kind) == ("failed", "user")

    assert run("toy", edited) == 0
    assert receipt().key != parked.key
    assert len(set(runs)) == 2

    for name, content in before.items():
        Path(name).write_bytes(content)
    assert run("toy", edited) == 0
    assert len(runs) == 2
    assert Path("models/toy/weights").read_text() == "IN"
    assert files() == AFTER
    assert (receipt().status, receipt().key) == ("executed", parked.key)
    assert receipt().metrics["loss"] == 1 / 3
    spec = load_graph()["toy"]
    assert (ledger.newest(inputs=digest(inputs_of(spec)), outputs=digest(outputs_of(spec))) or {})["key"] == parked.key
    assert not paths.parked("toy", runs[0]).exists()


def test_a_parked_result_that_was_damaged_is_made_again() -> None:
    runs = []

    def edited(stage: Stage) -> None:
        runs.append(stage.fingerprint)
        toy(stage)
        if len(runs) == 1:
            _edit_input()

    assert run("toy", edited) == 1
    (paths.parked("toy", runs[0]) / "models" / "toy" / "weights").write_text("damaged")
    Path("input.txt").write_text("in")
    assert run("toy", edited) == 0
    assert len(runs) == 2
    assert Path("models/toy/weights").read_text() == "IN"


def test_checkpoints_belong_to_inputs() -> None:
    places = []

    def main(stage: Stage) -> None:
        toy(stage)
        places.append(stage.checkpoints)

    for text in ("in", "in", "other"):
        Path("input.txt").write_text(text)
        assert run("toy", main) == 0
        remove_tree(paths.kept("toy"))
    assert places[0] == places[1]
    assert places[0] != places[2]
    assert all(place.parent == paths.home() / "checkpoints" / "toy" for place in places)


PROGRAM = """
import os, sys, time
from pathlib import Path
from pipeline.stage import run

def main(stage):
    stage.out("models/toy").mkdir()
    stage.log_metrics({"loss": 1.0}, 1)
    Path("ready").write_text(str(os.getpid()))
    for _ in range(600):
        if POLITE and stage.stopping():
            (stage.checkpoints / "step-1").mkdir(parents=True)
            raise KeyboardInterrupt
        time.sleep(0.1)

sys.exit(run("toy", main))
"""


def start(polite: bool = True) -> subprocess.Popen[str]:
    """The stage as a process of its own, which has come as far as its main."""
    Path("toy.py").write_text(PROGRAM.replace("POLITE", str(polite)))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "toy.py"], stderr=subprocess.PIPE, text=True, env=environment)
    wait_for(Path("ready"))
    return process


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 60
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline, f"{file} did not appear"
        time.sleep(0.05)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("polite", [True, False])
def test_a_stage_that_is_stopped(number: int, status: int, polite: bool) -> None:
    process = start(polite)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert errors == "toy: stopped\n"
    assert (receipt().status, receipt().kind) == ("stopped", None)
    assert [e["status"] for e in of_type(receipt().key, "end")] == ["KILLED"]
    assert files() == sorted([*BEFORE, "ready"])
    assert polite == bool(list(paths.checkpoints("toy").glob("*/step-1")))


LONG_STEP = """
import sys, time
from pathlib import Path
from pipeline.stage import run

def main(stage):
    stage.stopping()
    Path("ready").write_text("in a step of ten minutes")
    time.sleep(600)

sys.exit(run("toy", main))
"""


def test_a_step_longer_than_the_grace_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks gets time for the step, but not for ever; who sets nonsense gets the usual time."""
    for named, seconds in (("0.2", 0.2), ("x", GRACE_S), ("-1", GRACE_S), ("nan", GRACE_S)):
        monkeypatch.setenv("SCRIPTORIUM_GRACE_S", named)
        assert grace_s() == seconds
    monkeypatch.setenv("SCRIPTORIUM_GRACE_S", "0.2")
    Path("toy.py").write_text(LONG_STEP)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "toy.py"], stderr=subprocess.PIPE, text=True, env=environment)
    wait_for(Path("ready"))
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (143, "toy: stopped\n")
    assert [e["status"] for e in of_type(receipt().key, "end")] == ["KILLED"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent ended")
def test_one_run_at_a_time_and_none_outlives_its_parent() -> None:
    """The parent is killed outright: the stage gets a signal, saves, and lets go of the lock another waits for."""
    Path("toy.py").write_text(PROGRAM.replace("POLITE", "True"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    starter = "import subprocess, sys; subprocess.run([sys.executable, 'toy.py'])"
    parent = subprocess.Popen([sys.executable, "-c", starter], stderr=subprocess.DEVNULL, env=environment)
    wait_for(Path("ready"))
    first = Path("ready").read_text()
    Path("ready").unlink()
    second = subprocess.Popen([sys.executable, "toy.py"], stderr=subprocess.PIPE, text=True, env=environment)
    assert second.stderr is not None
    assert second.stderr.readline().startswith(f"toy: waiting for process {first} on ")
    assert not Path("ready").exists()
    parent.kill()
    parent.wait()
    wait_for(Path("ready"))
    assert len(list(paths.checkpoints("toy").glob("*/step-1"))) == 1
    second.kill()
    second.communicate()
    (key,) = [folder.name for folder in paths.journal().iterdir()]
    assert [e["status"] for e in of_type(key, "end")] == ["KILLED"]
    assert len(of_type(key, "start")) == 2
    assert len(of_type(key, "metrics")) == 2  # the loss of step 1 once, and the costs of the first attempt


def test_the_run_is_in_mlflow_when_the_stage_ends(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.delenv("SCRIPTORIUM_SYNC")
    monkeypatch.setattr("pipeline.stage.FINAL_WAIT_S", 60.0)
    assert run("toy", toy) == 0
    run_id = receipt().run_id
    assert run_id is not None
    spec = load_graph()["toy"]
    found = ledger.newest(stage="toy", inputs=digest(inputs_of(spec)), outputs=digest(outputs_of(spec)))
    assert found is not None
    assert (found["run_id"], found["key"]) == (run_id, receipt().key)
    assert journal.unsent() == []
