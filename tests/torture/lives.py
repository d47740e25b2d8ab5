"""Workspaces to kill things in, and what must be true of them afterwards."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil

from gpt.checkpoint import checkpoints_in
from pipeline.files import md5_path, remove_tree
from pipeline.graph import load_graph
from pipeline.params import dump_yaml, read_yaml
from tests.tiny import CHANGES, ROOT, environment_of, make_workspace, run
from tests.torture.forge import Order

TRAININGS = ("pretrain", "lora", "classify", "instruct")
INTERVAL = 4  # steps between checkpoints
SMALL: dict[str, Any] = {
    **CHANGES,
    **{f"{stage}.checkpoint_interval": INTERVAL for stage in TRAININGS},
    **{f"{stage}.eval_interval": 8 for stage in TRAININGS},
    "pretrain.epochs": 2,
    "lora.epochs": 6,
    "classify.epochs": 4,
    "classify.variants": ["pretrained", "full"],
    "instruct.epochs": 8,
    "instruct.variants": ["pretrained"],
}
NOT_OF_STEPS = ("cost/", "final/")  # written once an attempt, under its number


def reference(folder: Path) -> Path:
    """The undisturbed run of everything, and its record in MLflow."""
    make_workspace(folder, SMALL)
    run(folder, "dvc", "repro", SCRIPTORIUM_SYNC="0")
    run(folder, "python", "-m", "pipeline.sync")
    return folder


def copy_of(made: Path, folder: Path, *stale: str) -> Path:
    """The workspace with `stale` stages as if they had never run: no outputs, no memory of them."""
    shutil.copytree(made, folder, symlinks=True, ignore=shutil.ignore_patterns(".scriptorium"))
    shutil.rmtree(folder / ".dvc" / "cache" / "runs")
    lock = read_yaml(folder / "dvc.lock")
    for stage in stale:
        del lock["stages"][stage]
        for out in load_graph(folder)[stage].outs:
            remove_tree(folder / out)
    (folder / "dvc.lock").write_text(dump_yaml(lock)) if lock["stages"] else (folder / "dvc.lock").unlink()
    return folder


def assert_same(folder: Path, made: Path, *stages: str) -> None:
    """Every output of these stages is, byte for byte, that of the undisturbed run."""
    for stage in stages:
        for out in load_graph(made)[stage].outs:
            assert md5_path(folder / out) == md5_path(made / out), f"{stage}: {out}"


def points(home: Path) -> dict[str, list[tuple[str, int, float]]]:
    """{stage: [(metric, step, value)]} of its one run in MLflow, which ended well."""
    query = """select t.value, r.status, r.run_uuid from tags t join runs r on r.run_uuid = t.run_uuid
               where t.key = 'dvc.stage'"""
    with closing(sqlite3.connect(home / "mlflow.db")) as store:
        found: dict[str, list[tuple[str, int, float]]] = {}
        for stage, status, run_id in store.execute(query).fetchall():
            assert stage not in found, f"{stage} has two runs"
            assert status == "FINISHED", f"{stage} is {status}"
            rows = store.execute("select key, step, value from metrics where run_uuid = ?", (run_id,))
            found[stage] = sorted(row for row in rows if of_steps(row[0]))
    return found


def of_steps(metric: str) -> bool:
    return not metric.startswith(NOT_OF_STEPS) and not metric.endswith("_per_second")


def assert_told_once(folder: Path, made: Path, *stages: str) -> None:
    """MLflow, after `make sync`, has one run a stage with every step once, with the undisturbed run's numbers.

    More stages may have run: DVC writes dvc.lock in pieces, and one that it was killed in may lack an earlier entry.
    """
    run(folder, "python", "-m", "pipeline.sync")
    told, expected = points(folder / ".scriptorium"), points(made / ".scriptorium")
    assert set(told) >= set(stages)
    for stage in stages:
        assert told[stage] == expected[stage], stage


class Forge:
    """Runs stages in a workspace, one life after another (tests/torture/forge.py)."""

    def __init__(self, folder: Path) -> None:
        self.scratch = folder
        command = [sys.executable, "-m", "tests.torture.forge"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=-1, stdout=-1, text=True, env=environment_of(folder), start_new_session=True
        )

    def life(self, stage: str, folder: Path, *, kill_after_s: float | None = None, **more: Any) -> int:
        """One life of a stage, as DVC starts it: without its outputs. Its exit status; -9 when it was killed."""
        for out in load_graph(folder)[stage].outs:
            remove_tree(folder / out)
        fault = more.pop("fault", "")
        named = {"SCRIPTORIUM_SYNC": "0", "SCRIPTORIUM_FAULT": fault, "SCRIPTORIUM_PROGRESS": str(self.scratch / "bar")}
        environment = environment_of(folder, **named)
        order = Order(stage, str(folder), str(self.said), str(self.scratch / "steps"), environment, **more)
        assert self.process.stdin is not None
        self.process.stdin.write(order.line())
        self.process.stdin.flush()
        pid = int(self._answer()["pid"])
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return int(self._answer()["status"])

    @property
    def said(self) -> Path:
        return self.scratch / "said"

    def steps(self) -> list[tuple[str, str, int]]:
        """(life, training, step) of every training step that was made since the last time one asked."""
        file = self.scratch / "steps"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [(life, training, int(step)) for life, training, step in (line.split() for line in lines)]

    def _answer(self) -> Mapping[str, Any]:
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def most_repeated(steps: list[tuple[str, str, int]]) -> int:
    """Of all lives of a training, the most steps that one made again after another had made them."""
    most, furthest = 0, dict[str, int]()
    seen = set[tuple[str, str]]()
    for life, training, step in steps:
        if (life, training) not in seen:
            seen.add((life, training))
            most = max(most, furthest.get(training, 0) - (step - 1))
        furthest[training] = max(step, furthest.get(training, 0))
    return most


def forget(folder: Path, stage: str) -> None:
    """Let the next life of a stage begin from nothing: no checkpoint, no kept result, no record of the last run."""
    home = folder / ".scriptorium"
    for place in (home / "checkpoints" / stage, home / "kept" / stage, *home.glob(f"journal/{stage}-*")):
        remove_tree(place)


def damage_newest(folder: Path, stage: str, draw: random.Random) -> Path | None:
    """Cut a file of a stage's newest checkpoint short, or flip one of its bits; the checkpoint, if there is one."""
    places = sorted((folder / ".scriptorium" / "checkpoints" / stage).glob("*/*/*"))
    found = [path for place in places for path in checkpoints_in(place)]
    if not found:
        return None
    newest = max(found, key=lambda path: path.stat().st_mtime_ns)
    file = draw.choice(sorted(path for path in newest.iterdir()))
    data = bytearray(file.read_bytes())
    if draw.random() < 0.5:
        data = data[: draw.randrange(len(data))]
    else:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    file.write_bytes(data)
    return newest


def family_of(process: subprocess.Popen[Any]) -> list[psutil.Process]:
    """The process and all below it, without those in sessions that outlive a stage on purpose (its record's)."""
    with suppress(psutil.NoSuchProcess):
        own = psutil.Process(process.pid)
        below = [child for child in own.children(recursive=True) if "pipeline.sync" not in " ".join(child.cmdline())]
        return [own, *below]
    return []


def seconds_until_gone(family: list[psutil.Process]) -> float:
    """How long it takes until none of them lives; fails after 30 s."""
    began = time.monotonic()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not [each for each in alive if each.is_running() and each.status() != psutil.STATUS_ZOMBIE], alive
    return time.monotonic() - began


def start(folder: Path, *command: str, **more: str) -> subprocess.Popen[str]:
    """A command in the workspace, in a session of its own; what it says goes to a file."""
    settings = environment_of(folder, **more)
    with (folder / "said.log").open("w") as said:
        return subprocess.Popen(
            command, cwd=folder, env=settings, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            text=True, start_new_session=True,
        )  # fmt: skip


def said_by(folder: Path) -> str:
    return (folder / "said.log").read_text()


def kill(process: subprocess.Popen[Any]) -> bool:
    """SIGKILL to this process alone; whether it still lived."""
    if process.poll() is not None:
        return False
    process.send_signal(signal.SIGKILL)
    process.wait()
    return process.returncode == -9
