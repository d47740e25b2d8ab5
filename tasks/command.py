"""A command run for a flow: heard line by line, ended with the flow, never outliving it (tasks/supervise.py)."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.secrets import without_secrets

LAST_LINES = 20


@dataclass(frozen=True)
class End:
    """How a command ended: exit status, its last lines, whether it was stopped for having taken too long."""

    status: int
    tail: tuple[str, ...]
    timed_out: bool


def run_supervised(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    stop: threading.Event,
    log: Callable[[str], None],
    deadline: float = float("inf"),
    grace_s: float = 8.0,
    worth_a_line: Callable[[str], bool] = lambda line: True,
) -> End:
    """Run the command until it ends, `stop` is set, or time.monotonic() passes `deadline`.

    Lines of both its outputs that are `worth_a_line` go to `log` as they come, the last of them into the result.
    grace_s: seconds between asking everything below the command to end, and killing it.
    """
    supervisor = Path(__file__).with_name("supervise.py")
    process = subprocess.Popen(
        [sys.executable, "-P", str(supervisor), "--grace", str(grace_s), "--", *command],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.PIPE,  # the lifeline: nothing is written, closing it ends the command
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # Ctrl-C on the terminal reaches the flow, which then decides
    )
    tail: deque[str] = deque(maxlen=LAST_LINES)
    timed_out = False
    try:
        for line in _lines(process):
            if line is not None and worth_a_line(line):
                tail.append(line)
                log(line)
            timed_out |= time.monotonic() > deadline
            if timed_out or stop.is_set():
                _cut(process)
        return End(process.wait(), tuple(tail), timed_out)
    finally:  # whatever is thrown at this thread, the command does not outlive it
        _cut(process)
        process.wait()


def _cut(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    if not process.stdin.closed:
        process.stdin.close()


def _lines(process: subprocess.Popen[str]) -> Iterator[str | None]:
    """The command's lines as they come, None after each fifth of a second without; ends soon after the command."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(without_secrets(line.rstrip("\n")))
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    patience = 5  # something the command left in the background may hold its output open for ever
    while patience:
        try:
            line = lines.get(timeout=0.2)
        except queue.Empty:
            patience -= process.poll() is not None
            yield None
            continue
        if line is None:
            return
        yield line
