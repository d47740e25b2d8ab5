"""Two trainings side by side on the same cores, and one alone: with the waiting that `make` asks for, and without.

PyTorch's threads meet at the end of every operator. GNU's OpenMP lets the first to come spin long before it sleeps,
although the one that it waits for may want that very core. `GOMP_SPINCOUNT` of the Makefile makes that shorter.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from benchmarks.measure import Times, interleaved
from benchmarks.shapes import ROOT
from benchmarks.table import Row
from benchmarks.topics import Options
from benchmarks.training import OURS
from benchmarks.worker import Worker

STEPS = 30
WARM_UP = 3
VARIABLE = "GOMP_SPINCOUNT"
AT_ONCE = {1: "the default's training step, alone", 2: "the same, two trainings side by side"}


def rows(options: Options) -> Iterator[Row]:
    plain = {name: value for name, value in os.environ.items() if name != VARIABLE}
    turns = said_by_make()
    ways = {"here": {**plain, VARIABLE: turns}, "OpenMP's own": plain}
    for processes, told in AT_ONCE.items():
        found = {name: steps(processes, environment, options.threads) for name, environment in ways.items()}
        yield Row(told, found["here"], "OpenMP's own waiting", found["OpenMP's own"], note=f"{VARIABLE}={turns}")


def said_by_make() -> str:
    """The Makefile's number. ValueError where it has none."""
    found = re.search(rf"^export {VARIABLE} \?= (\d+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ValueError(f"the Makefile sets no {VARIABLE}")
    return found[1]


def steps(processes: int, environment: dict[str, str], threads: int) -> Times:
    """The seconds of every step of so many trainings at once."""
    given = {"shape_name": "nano", "compiled": False, "optimizer": "muon", "packed": True, "threads": threads}
    trainings = [Worker(OURS, **given) for _ in range(processes)]

    def train(worker: Worker) -> tuple[float, ...]:
        return interleaved({"step": worker}, STEPS, WARM_UP)["step"].seconds

    with ExitStack() as stack:
        for training in trainings:
            training.environment = environment
            stack.enter_context(training)
        with ThreadPoolExecutor(processes) as pool:
            return Times(tuple(seconds for each in pool.map(train, trainings) for seconds in each))
