"""How the stages of a flow let the flow's one follower send their journals, instead of starting a follower each.

The flow's journal folder holds a named pipe whose reading end only the flow's follower has. A stage opens it for
writing, writes the key of its journal into it, and keeps it open as long as it runs. So the kernel answers every
question, however anything ended: opening fails where no follower lives, writing fails where it died since, and the
reader finds the end of the file when the last stage is gone.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from pipeline import paths


def _pipe(parent: str) -> Path:
    return paths.journal() / parent / "children"


def make(parent: str) -> int | None:
    """Make the pipe of a flow; its reading end, for the follower to inherit. None where there can be no such pipe."""
    try:
        _pipe(parent).unlink(missing_ok=True)  # of a flow that was killed and goes on
        os.mkfifo(_pipe(parent), 0o600)
        return os.open(_pipe(parent), os.O_RDONLY | os.O_NONBLOCK)
    except OSError:  # a file system without: every stage has a follower of its own
        return None


def join(parent: str, key: str) -> int | None:
    """Hand a journal to the flow's follower; the open pipe, to be kept until `leave`. None: no follower is there."""
    try:
        end = os.open(_pipe(parent), os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None
    if _write(end, key):
        return end
    os.close(end)
    return None


def leave(end: int, key: str) -> bool:
    """Say that the journal has ended; whether the follower still lives to hear it."""
    try:
        return _write(end, key)
    finally:
        os.close(end)


def _write(end: int, key: str) -> bool:
    with suppress(OSError):
        return os.write(end, key.encode() + b"\n") > 0  # whole or not at all: it is shorter than PIPE_BUF
    return False


class Children:
    """The follower's side. `keys`: the journals to send besides the flow's own; `alive`: whether a stage still runs."""

    def __init__(self, end: int | None = None) -> None:
        self.keys: list[str] = []
        self.alive = False
        self._end, self._rest = end, b""

    def look(self) -> None:
        """Take in who joined and who is gone since the last look."""
        if self._end is None:
            return
        try:
            while read := os.read(self._end, 1 << 16):
                *whole, self._rest = (self._rest + read).split(b"\n")
                self.keys += [key for line in whole if (key := line.decode()) not in self.keys]
            self.alive = False
        except BlockingIOError:  # nothing to read, and somebody who could write
            self.alive = True

    def close(self, parent: str) -> None:
        """From now on, stages that come look after themselves."""
        if self._end is not None:
            _pipe(parent).unlink(missing_ok=True)
            os.close(self._end)
            self._end = None
