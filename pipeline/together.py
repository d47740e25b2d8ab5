"""A stage that several processes run together (`runtime.processes`): who speaks, and what became of it.

The process that DVC starts only starts the others, each the same command with RANK and WORLD_SIZE in its environment,
waits, and speaks for them. The first of them locks, records and publishes, as a stage does that runs alone; all leave
what became of them in a folder, and what the first to fail left there is the stage's own receipt.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from pipeline.receipt import TOGETHER, Receipt, read_receipt
from pipeline.schema import Params
from pipeline.signals import grace_s

SAVING_S = 3.0  # for what is done when the time for the step itself is over
Launch = Callable[[Sequence[str], int, int, float], Mapping[int, int]]
"""(python's arguments, processes, threads of each, grace_s) → {rank: exit status} of those that failed."""


def rank() -> int:
    """The number of this process among those that run a stage together. Only the first locks, records and publishes."""
    return int(os.environ.get("RANK", "0"))


def started_by_another() -> bool:
    """Whether this is one of them, whoever started it."""
    return "RANK" in os.environ


def spoken_for() -> bool:
    """Whether the process that started this one tells the person what became of it."""
    return TOGETHER in os.environ


def run_together(name: str, params: Params, launch: Launch, receipt: Receipt) -> int:
    """Run the stage in `runtime.processes` processes; `receipt` becomes theirs. The exit status.

    ChildProcessError when one ended without a word: it was killed, or could not begin.
    """
    many, threads = params.runtime.processes, params.runtime.threads
    with tempfile.TemporaryDirectory(prefix="together-") as folder:
        os.environ[TOGETHER] = folder
        try:
            failed = launch(["-m", f"stages.{name}"], many, threads, grace_s() + SAVING_S)
        except KeyboardInterrupt as stopped:
            if not stopped.args:
                raise
            failed = {0: 128 + stopped.args[0]}
            receipt.status = receipt.message = "stopped"
        finally:
            del os.environ[TOGETHER]
        _adopt(receipt, Path(folder))
    for number, status in failed.items():
        killed = status < 0 and status != -signal.SIGTERM  # which is how the others are asked to end
        if killed or receipt.status == "executed":
            how = f"was killed by {signal.Signals(-status).name}" if killed else f"ended with status {status}"
            raise ChildProcessError(f"process {number + 1} of the {many} that train together {how}")
    if receipt.status == "failed":
        return 1
    return max(failed.values(), default=0)


def _adopt(receipt: Receipt, folder: Path) -> None:
    """Make the receipt that of the first process to fail, or else of process 0."""
    left = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    found = [read for path in left if (read := read_receipt(path)) is not None]
    first = next((read for read in found if read.status == "failed"), None) or read_receipt(folder / "0.json")
    for field in fields(Receipt) if first is not None else ():
        setattr(receipt, field.name, getattr(first, field.name))
