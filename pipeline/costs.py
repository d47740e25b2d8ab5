"""What a piece of work costs: seconds, processor seconds and peak memory of this process and its helpers."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def measured(log: Callable[[dict[str, float]], None]) -> Iterator[None]:
    """`log` what the block took, also when it fails; a disk too full for the record is no second error."""
    began = time.monotonic()
    try:
        yield
    finally:
        own, helpers = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        unit = 1 if sys.platform == "darwin" else 1024
        with suppress(OSError):
            log({
                "seconds": time.monotonic() - began,
                "user_cpu_seconds": own.ru_utime + helpers.ru_utime,
                "peak_memory_bytes": max(own.ru_maxrss, helpers.ru_maxrss) * unit,
            })  # fmt: skip
