"""The same inputs, the same bytes: in every clone, by whichever command, however often one evaluates or looks."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gpt.runtime import processor_features
from pipeline.params import read_yaml
from tests.reads import run_stage
from tests.tiny import CHANGES, EMBEDDED, environment_of, make_workspace, run, set_leaf

pytestmark = pytest.mark.torture
Figures = Callable[[str, object], None]
TRAININGS = ("pretrain", "lora", "classify", "instruct")
# what params.yaml says of the runtime, the embedded corpus, and small numbers for everything else
RUNTIME = {"threads": 2, "precision": "auto", "compile": "auto", "processes": 1, "sharding": "none"}
DEFAULTS = EMBEDDED | {f"runtime.{leaf}": value for leaf, value in RUNTIME.items()}
# each in a clean clone of its own
FLOW = ("python", "-m", "flows.train", "--parallel")
WAYS: dict[str, tuple[str, ...]] = {
    "dvc repro": ("dvc", "repro"),
    "flow, side by side": (*FLOW, "2"),
    "flow, one after the other": (*FLOW, "1"),
}


def test_the_small_numbers_are_the_only_difference_from_the_defaults() -> None:
    runtime = read_yaml(Path(__file__).resolve().parents[2] / "params.yaml")["runtime"]
    assert {name: DEFAULTS.get(f"runtime.{name}", "auto") for name in runtime} == dict(runtime)


def test_clones_and_commands_write_one_lock(tmp_path: Path, figures: Figures) -> None:
    whole = os.environ.get("SCRIPTORIUM_DEFAULTS") == "1"  # params.yaml as it is: some ten minutes a clone
    origin = make_workspace(tmp_path / "origin", {} if whole else DEFAULTS)
    locks, tags = {}, {}
    for number, (name, command) in enumerate(WAYS.items()):
        clone = tmp_path / ("clone" * (number + 1))  # no path is as long as another
        subprocess.run(["git", "clone", "-q", str(origin), str(clone)], check=True)
        try:
            subprocess.run(command, cwd=clone, env=environment_of(clone), check=True, capture_output=True)
        finally:
            run(clone, "python", "-m", "flows.services", "stop", check=False)
        locks[name] = (clone / "dvc.lock").read_text()
        run(clone, "python", "-m", "pipeline.sync")
        tags[name] = recorded(clone)
        shutil.rmtree(clone)
    assert [name for name, lock in locks.items() if lock != locks["dvc repro"]] == []
    for found in tags.values():
        assert found == tags["dvc repro"]
    figures("clones and commands with one dvc.lock", f"{len(locks)} ({', '.join(locks)})")


def recorded(folder: Path) -> dict[str, str]:
    """What MLflow has of that on which the bytes of a training depend, the same for all four."""
    store = sqlite3.connect(folder / ".scriptorium" / "mlflow.db")
    query = "select run_uuid, key, value from tags where key like 'runtime.%' or key like 'version.%'"
    found: dict[str, dict[str, str]] = {}
    stages = dict(store.execute("select run_uuid, value from tags where key = 'dvc.stage'"))
    for run_id, key, value in store.execute(query):
        found.setdefault(stages.get(run_id, ""), {})[key] = value
    for stage in TRAININGS:
        mine = found[stage]
        assert mine["runtime.threads"] == "2" and mine["runtime.features"] == processor_features()
        assert {"runtime.processor", "runtime.capability", "runtime.torch", "version.numpy"} <= set(mine), stage
    return found["pretrain"]


def test_how_often_one_evaluates_saves_and_looks_changes_no_weight(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: Figures
) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "workspace", symlinks=True))
    for stage in TRAININGS:
        set_leaf(folder, f"{stage}.keep", "last")  # the best is chosen among the evaluations
    first = weights(folder)
    for stage in TRAININGS:
        set_leaf(folder, f"{stage}.eval_interval", 3)
        set_leaf(folder, f"{stage}.checkpoint_interval", 1000)
    set_leaf(folder, "pretrain.eval_batches", None)
    set_leaf(folder, "pretrain.sample.temperature", 1.0)
    monkeypatch.setenv("SCRIPTORIUM_PROGRESS", str(tmp_path / "progress.jsonl"))
    monkeypatch.setattr("pipeline.progress.FILE_EVERY_S", 0.0)
    assert weights(folder) == first
    assert (tmp_path / "progress.jsonl").read_text().count("\n") > 50
    set_leaf(folder, "seed", CHANGES.get("seed", 123) + 1)
    assert not set(weights(folder).values()) & set(first.values())
    figures("models with equal weights, whatever the intervals and the progress", len(first))


def weights(folder: Path) -> dict[str, bytes]:
    """Every weights file of the four trainings, which run anew."""
    for stage in TRAININGS:
        run_stage(folder, stage)
    files = sorted((folder / "models").rglob("*.safetensors"))
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}
