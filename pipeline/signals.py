"""How a stage is stopped: politely first. And that it never outlives the program that started it."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

GRACE_S = 30
PR_SET_PDEATHSIG = 1


class Stopper:
    """Within the block, SIGTERM and SIGINT ask the stage to stop.

    A stage that calls `stopping` is given GRACE_S seconds to save its state; one that doesn't, or a second signal, gets
    KeyboardInterrupt at once.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._asks = self._shielded = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopper:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._before:
            signal.alarm(0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stopping(self) -> bool:
        self._asks = True
        return self.received is not None

    def shield(self) -> None:
        """From now on signals are noted and nothing more."""
        self._shielded = True

    @property
    def by_sigterm(self) -> bool:
        return self.received == signal.SIGTERM

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first = self.received is None
        if number != signal.SIGALRM:
            self.received = number
        if self._shielded:
            return
        if first and self._asks:
            signal.alarm(GRACE_S)
        else:
            raise KeyboardInterrupt


def die_with_parent() -> None:
    """On Linux: get SIGTERM when the parent ends (its forking thread, to be exact), however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
