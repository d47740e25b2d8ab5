"""How a stage is stopped: politely first. And that it never outlives the program that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

GRACE_S = 5.0  # so that all is over within ten seconds; a model whose step takes longer may be given more
PR_SET_PDEATHSIG = 1


class Stopper:
    """Within the block, SIGTERM and SIGINT ask the stage to stop.

    A stage that calls `stopping` is given `grace_s` seconds to come to the end of its step; one that doesn't, or a
    second signal, gets KeyboardInterrupt at once.
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
            signal.setitimer(signal.ITIMER_REAL, 0)
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
            signal.setitimer(signal.ITIMER_REAL, grace_s())
        else:
            raise KeyboardInterrupt


def grace_s() -> float:
    """Seconds between asking a stage to stop and interrupting it: SCRIPTORIUM_GRACE_S, or GRACE_S where that is not set
    or no number above 0."""
    try:
        named = float(os.environ.get("SCRIPTORIUM_GRACE_S", GRACE_S))
    except ValueError:
        return GRACE_S
    return named if 0 < named < 1e6 else GRACE_S


def die_with_parent() -> None:
    """On Linux: get SIGTERM when the parent ends (its forking thread, to be exact), however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
