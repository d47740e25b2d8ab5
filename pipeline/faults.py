"""Where a test can strike: SCRIPTORIUM_FAULT="after rename:2" kills this process when it passes there the 2nd time.

A third part raises an error there instead ("before write:1:ENOSPC"). Unset, passing a point costs one look-up.
"""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter

FAULT = "SCRIPTORIUM_FAULT"
_passes: Counter[str] = Counter()


def passing(point: str) -> None:
    """Name a point of the program. Raises the OSError, or ends the process, that SCRIPTORIUM_FAULT asks for here."""
    if named := os.environ.get(FAULT):
        _strike(point, *named.split(":"))


def _strike(point: str, where: str, nth: str, error: str = "") -> None:
    if point != where:
        return
    _passes[point] += 1
    if _passes[point] == int(nth):
        if error:
            number = getattr(errno, error)
            raise OSError(number, os.strerror(number), point)
        os.kill(os.getpid(), signal.SIGKILL)
