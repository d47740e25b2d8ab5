"""`runtime.processes: 2`: the real stages, trained by two, written once, stopped, and gone on with by one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from pipeline import journal
from pipeline.graph import load_graph
from tests.reads import run_stage
from tests.tiny import CHANGES, environment_of, make_workspace, run, set_leaves

SHAPE = {**CHANGES["model"], "dropout": 0.0}  # which rows draw what differs between one process and two
TINY: dict[str, Any] = {**CHANGES, "model": SHAPE, "pretrain.epochs": 20, "pretrain.checkpoint_interval": 10}
ALONE = {"runtime.processes": 1, "runtime.sharding": "none"}
WHOLE = {"runtime.processes": 2, "runtime.sharding": "none"}
SPREAD = {"runtime.processes": 2, "runtime.sharding": "full"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny workspace in which every stage but evaluate has run in one process; `curves` of those beside it."""
    folder = make_workspace(tmp_path_factory.mktemp("alone") / "workspace", TINY)
    for name in load_graph(folder):
        if name != "evaluate":
            run_stage(folder, name)
    (folder / "reports").rename(folder.parent / "reports")
    (folder / "models").rename(folder.parent / "models")
    (folder / "models").mkdir()
    (folder / "models" / "base").symlink_to(folder.parent / "models" / "base")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRIPTORIUM_HOME", str(folder / ".scriptorium"))
        yield folder


def command(stage: str) -> list[str]:
    return [sys.executable, "-m", f"stages.{stage}"]


def quiet(folder: Path) -> dict[str, str]:
    return {"SCRIPTORIUM_SYNC": "0", "SCRIPTORIUM_RECEIPT": str(folder / "receipt.json")}


def curves(folder: Path, stage: str) -> Mapping[str, pd.DataFrame]:
    return {file.stem: pd.read_csv(file) for file in sorted((folder / "reports" / stage / "curves").glob("*.csv"))}


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def steps_recorded(key: str) -> list[int]:
    """The steps whose training loss a run's journal holds, in its order."""
    found = [event for event, _ in journal.events(key) if event["type"] == "metrics"]
    return [event["step"] for event in found if any(name.endswith("learning_rate") for name in event["values"])]


@pytest.mark.parametrize(
    ("stage", "how"), [("lora", WHOLE), ("classify", SPREAD), ("instruct", WHOLE), ("instruct", SPREAD)]
)
def test_two_processes_make_what_one_does_and_write_it_once(
    workspace: Path, stage: str, how: Mapping[str, Any]
) -> None:
    set_leaves(workspace, how)
    done = run(workspace, *command(stage), **quiet(workspace))
    assert done.stdout.count("trained parameters") == len(curves(workspace.parent, stage))
    assert "2 processes" in done.stdout
    mine, theirs = curves(workspace, stage), curves(workspace.parent, stage)
    assert mine.keys() == theirs.keys()
    for variant, expected in theirs.items():
        pd.testing.assert_frame_equal(mine[variant].drop(columns="gradient_norm"),
                                      expected.drop(columns="gradient_norm"), rtol=1e-5, atol=1e-5)  # fmt: skip
    outputs = [out for out in load_graph(workspace)[stage].outs if out.startswith("models/")]
    assert outputs and all(files(workspace / out) == files(workspace.parent / out) for out in outputs)
    receipt = json.loads((workspace / "receipt.json").read_text())
    assert receipt["status"] == "executed" and receipt["metrics"] and journal.finished(receipt["key"])
    steps = [step for frame in theirs.values() for step in range(1, frame["step"].iloc[-1] + 1)]
    assert sorted(steps_recorded(receipt["key"])) == sorted(steps)
    assert not list((workspace / ".scriptorium" / "staging").glob(f"{stage}*"))


def test_stopped_all_save_and_one_goes_on_from_there(workspace: Path) -> None:
    """SIGTERM to the process that DVC would have started."""
    (workspace / "models" / "base").unlink()
    set_leaves(workspace, WHOLE)
    settings = environment_of(workspace, **quiet(workspace))
    process = subprocess.Popen(command("pretrain"), cwd=workspace, env=settings, stderr=subprocess.PIPE, text=True)
    checkpoints = workspace / ".scriptorium" / "checkpoints" / "pretrain"
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("*/model/*/step-*/digests.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert process.stderr is not None
    said = process.stderr.read().splitlines()
    assert said[-1] == "pretrain: stopped" and not [line for line in said if not line.startswith("pretrain: ")]
    assert not [pid for pid in family if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
    receipt = json.loads((workspace / "receipt.json").read_text())
    assert receipt["status"] == "stopped"
    told = steps_recorded(receipt["key"])
    newest = max(int(path.name.removeprefix("step-")) for path in checkpoints.glob("*/model/*/step-*"))
    assert told == list(range(1, newest + 1)) and newest % 10, "a checkpoint of the step it was stopped at"

    set_leaves(workspace, ALONE)
    run(workspace, *command("pretrain"), **quiet(workspace))
    receipt = json.loads((workspace / "receipt.json").read_text())
    mine, expected = curves(workspace, "pretrain")["base"], curves(workspace.parent, "pretrain")["base"]
    assert steps_recorded(receipt["key"]) == list(range(newest + 1, int(expected["step"].iloc[-1]) + 1))
    pd.testing.assert_frame_equal(mine.drop(columns="gradient_norm"), expected.drop(columns="gradient_norm"),
                                  rtol=1e-4, atol=1e-4)  # fmt: skip


def test_what_one_of_them_has_to_say_is_said_once(workspace: Path) -> None:
    set_leaves(workspace, {**WHOLE, "lora.batch_size": 1})
    try:
        done = run(workspace, *command("lora"), check=False, **quiet(workspace))
    finally:
        set_leaves(workspace, {"lora.batch_size": CHANGES["lora.batch_size"]})
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("lora: ")]
    assert said == ["lora: batches of 1 rows for 2 processes: each takes at least one"]
    receipt = json.loads((workspace / "receipt.json").read_text())
    assert (receipt["status"], receipt["kind"]) == ("failed", "user")


def test_another_number_than_the_parameter_says_is_refused(workspace: Path) -> None:
    set_leaves(workspace, ALONE)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    done = run(workspace, *torchrun, "-m", "stages.lora", check=False, **quiet(workspace))
    assert done.returncode
    assert "lora: runtime.processes is 1, and torchrun started 2: both must say the same" in done.stderr
