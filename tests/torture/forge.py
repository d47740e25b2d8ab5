"""Forks stages out of a process that has imported everything: a life costs what the stage costs, no seconds of imports.

    python -m tests.torture.forge      a JSON line in ({"stage", "folder", …}: `Order`), two out: {"pid"}, {"status"}

Each life is a process of its own that runs the real stage, to be killed for real. What a test wants to know or to
break is done here: every training step's number is noted, and from the n-th write on the disk can be full.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

STAGES = ("download", "tokenize", "sample", "pretrain", "lora", "classify", "instruct", "evaluate")
CHANGING = {"os.mkdir": 0, "os.link": 1, "os.rename": 1, "os.symlink": 1}  # audit events, and which argument is made


@dataclass
class Order:
    """One life. `refuse`: name of an errno that every write from the `after`-th on gets; `file_bytes`: RLIMIT_FSIZE."""

    stage: str
    folder: str
    said: str
    """A file for what it prints to stderr."""
    steps: str
    """A file for the numbers of the training steps it makes."""
    environment: dict[str, str] = field(default_factory=dict)
    refuse: str = ""
    after: int = 0
    file_bytes: int = 0

    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


def main() -> None:
    from gpt.train import Training
    from pipeline.stage import run

    mains = {name: importlib.import_module(f"stages.{name}").main for name in STAGES}
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        order = Order(**json.loads(line))
        if (pid := os.fork()) == 0:
            status = 70
            try:
                prepare(order, Training)
                status = run(order.stage, mains[order.stage])
                sys.stderr.flush()
            finally:
                os._exit(status)
        print(json.dumps({"pid": pid}), file=answers, flush=True)
        _, ended = os.waitpid(pid, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(ended)}), file=answers, flush=True)


def prepare(order: Order, training: Any) -> None:
    """Make the forked process the one that was ordered."""
    os.chdir(order.folder)
    os.environ.clear()
    os.environ.update(order.environment)
    os.dup2(os.open(order.said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    noted = os.open(order.steps, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    update: Callable[[Any], dict[str, float]] = training.update

    def noting(self: Any) -> dict[str, float]:
        numbers = update(self)
        os.write(noted, f"{os.getpid()} {self.folder.parent.name} {self.progress.step}\n".encode())
        return numbers

    training.update = noting
    if order.file_bytes:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (order.file_bytes, hard))
    if order.refuse:
        sys.addaudithook(Disk(order))


class Disk:
    """Refuses to make or open for writing anything in the workspace, from the n-th time on."""

    def __init__(self, order: Order) -> None:
        self.left, self.number, self.folder = order.after, getattr(errno, order.refuse), order.folder

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        place = self.written(event, arguments)
        if not isinstance(place, str | Path) or not Path(self.folder, place).is_relative_to(self.folder):
            return
        if self.left == 0:
            raise OSError(self.number, os.strerror(self.number), str(place))
        self.left -= 1

    @staticmethod
    def written(event: str, arguments: tuple[Any, ...]) -> Any:
        if event == "open":
            path, _, flags = arguments
            writing = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            return path if writing else None
        return arguments[CHANGING[event]] if event in CHANGING else None


if __name__ == "__main__":
    main()
