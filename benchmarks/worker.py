"""A way to do something, alive in a process of its own: its libraries, allocator, threads and memory are only its own.

    with Worker("benchmarks.training:ours", shape="nano") as step:
        step()                                             # one call, in seconds, as the process itself measured it

The process imports the module, notes its memory, calls the function with the arguments (which builds what is needed and
returns what is to be timed), and then waits for orders on its standard input.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
KIB = 1 if sys.platform == "darwin" else 1024  # of what getrusage counts in


class Worker:
    """A process that does its work once for each call. RuntimeError with its last words when it dies."""

    def __init__(self, target: str, **arguments: Any) -> None:
        self.target, self.arguments = target, arguments
        self.environment: Mapping[str, str] | None = None
        """Of the process, where it isn't to be this one's; said before it starts."""
        self.value: Any = None
        """What the last call returned; must be JSON."""
        self.peak_bytes = 0
        """The process's largest resident memory until the last call."""
        self.own_bytes = 0
        """The same, less what it had when its libraries were imported."""

    def __enter__(self) -> Worker:
        command = [sys.executable, "-m", "benchmarks.worker", self.target, json.dumps(self.arguments)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=self.environment, stdin=pipe, stdout=pipe, text=True)
        return self

    def __call__(self) -> float:
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write("run\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"{self.target} {self.arguments} ended with {self.process.wait()}; see above")
        answer = json.loads(line)
        self.value, self.peak_bytes, self.own_bytes = answer["value"], answer["peak"], answer["own"]
        return float(answer["seconds"])

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def peak() -> int:
    """This process's largest resident memory so far, in bytes."""
    try:  # getrusage's figure is, after a fork, the parent's where that is larger
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def main(target: str, arguments: dict[str, Any]) -> None:
    orders, answers = sys.stdin, os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    module, _, name = target.partition(":")
    build = getattr(importlib.import_module(module), name)
    before = peak()
    work = build(**arguments)
    for _ in orders:
        began = time.perf_counter()
        value = work()
        seconds = time.perf_counter() - began
        print(
            json.dumps({"seconds": seconds, "value": value, "peak": peak(), "own": peak() - before}),
            file=answers,
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
