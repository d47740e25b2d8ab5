"""Whole processes, from their start: a stage's until its first useful work, and runs that find nothing to do.

It takes a workspace with the results of `make run`, in which nothing is stale.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.chapters import trained
from benchmarks.measure import Timed, interleaved
from benchmarks.table import Goal, Row
from benchmarks.topics import Options
from tasks.plan import make_plan

STAGES = ("pretrain", "classify", "evaluate")
TRIVIAL = 8
ROUNDS = 5
SAID = "at work "
PROBE = """
import time
import stages.{stage}
from pipeline.stage import run
def main(stage):
    print({said!r} + repr(time.time()), flush=True)
    raise KeyboardInterrupt  # the stage ends its record, so that no helper of it disturbs who is measured next
run({stage!r}, main)
"""
BARE = "import time, torch; print({said!r} + repr(time.time()), flush=True)"


def until_said(code: str, home: Path) -> Timed:
    """A Python process, until it says that it is at work, by the clock that both processes share."""

    def once() -> float:
        environment = {**os.environ, "SCRIPTORIUM_HOME": str(home)}
        began = time.time()
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        if SAID not in done.stdout:
            raise RuntimeError(f"the process never came to its work:\n{done.stdout}{done.stderr}")
        return float(done.stdout.split(SAID)[1].split()[0]) - began

    return once


def command(arguments: list[str], folder: Path) -> Timed:
    """A process from its start to its end."""

    def once() -> float:
        began = time.perf_counter()
        done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return time.perf_counter() - began

    return once


def trivial_pipeline(folder: Path) -> Path:
    """Eight stages in a row, each of which copies a line, in a repository of its own; they have run."""
    place = folder / "trivial"
    if not (place / "dvc.lock").is_file():
        place.mkdir(parents=True, exist_ok=True)
        (place / "0.txt").write_text("a line\n")
        stages = [
            f"  copy{n}:\n    cmd: cp {n}.txt {n + 1}.txt\n    deps: [{n}.txt]\n    outs: [{n + 1}.txt]\n"
            for n in range(TRIVIAL)
        ]
        (place / "dvc.yaml").write_text("stages:\n" + "".join(stages))
        for arguments in (["git", "init", "-q"], ["dvc", "init", "-q", "-f"], ["dvc", "repro", "-q"]):
            subprocess.run(arguments, cwd=place, check=True)
    return place


def rows(options: Options) -> Iterator[Row]:
    if not trained(Path("models/base")):
        raise ValueError("models/base is missing: `make run` makes what this benchmark starts from")
    if not make_plan(Path()).nothing_to_do:
        raise ValueError("something is stale (make plan says what): `make run` first, since nothing is trained here")
    yield from starts(options)
    yield from nothing_to_do(options)


def starts(options: Options) -> Iterator[Row]:
    home = options.folder / "home"
    ways = {stage: until_said(PROBE.format(stage=stage, said=SAID), home) for stage in STAGES}
    found = interleaved({**ways, "bare": until_said(BARE.format(said=SAID), home)}, ROUNDS)
    for stage in STAGES:
        work = f"python -m stages.{stage}, until its first useful work"
        yield Row(work, found[stage], "import torch", found["bare"], Goal(1.5, at_most=True))


def nothing_to_do(options: Options) -> Iterator[Row]:
    place = trivial_pipeline(options.folder)
    ways: dict[str, Callable[[], float]] = {
        "dvc": command(["dvc", "repro"], Path()),
        "trivial": command(["dvc", "repro"], place),
        "flow": command([sys.executable, "-m", "flows.train"], Path()),
    }
    found = interleaved(ways, ROUNDS)  # the warm-up starts Prefect's server
    told = f"dvc repro of {TRIVIAL} trivial stages"
    yield Row("dvc repro with nothing to do", found["dvc"], told, found["trivial"], Goal(1.2, at_most=True))
    yield Row("make run with nothing to do, a server running", found["flow"], goal=Goal(5.0, seconds=True))
