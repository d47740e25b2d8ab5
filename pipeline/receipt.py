"""A stage's receipt: what became of it, for whoever started it.

The flow hands a file name down in SCRIPTORIUM_RECEIPT; a stage that runs writes it in every case. No receipt means that
the stage's program did not run at all (DVC skipped it or restored its outputs). The kind of a failure follows from the
built-in type of the error, so that `gpt` and `corpus` need not know this module.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.files import write_json

TOGETHER = "SCRIPTORIUM_TOGETHER"  # the folder for those of several processes (pipeline/together.py)


@dataclass
class Receipt:
    """`status`: executed | failed | stopped. `kind` (of a failure): user | transient | numeric | bug."""

    stage: str
    status: str
    kind: str | None = None
    message: str | None = None
    seconds: float = 0.0
    key: str | None = None  # of the journal, and so of the MLflow run
    run_id: str | None = None  # None while no tracking server has taken the run
    metrics: dict[str, Any] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)

    def write(self) -> None:
        """Write it for whoever asked; without SCRIPTORIUM_RECEIPT (or SCRIPTORIUM_TOGETHER) nobody did."""
        rank = os.environ.get("RANK", "0")
        folder = os.environ.get(TOGETHER)
        place = f"{folder}/{rank}.json" if folder else os.environ.get("SCRIPTORIUM_RECEIPT")
        if place and (folder or rank == "0"):
            write_json(place, _finite(asdict(self)))


def read_receipt(path: Path | str) -> Receipt | None:
    """The receipt in a file, or None when there is none (or none that can be read)."""
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
        return Receipt(**{f.name: raw[f.name] for f in fields(Receipt) if f.name in raw})
    except (OSError, ValueError, TypeError):
        return None


def kind_of(error: BaseException) -> str:
    """user: mend the input, never retried. transient: may pass, retried. numeric: NaN. bug: ours."""
    if isinstance(error, ConnectionError | TimeoutError):
        return "transient"
    if isinstance(error, FloatingPointError):
        return "numeric"
    if isinstance(error, ValueError | OSError | MemoryError):
        return "user"
    return "bug"


def message_of(error: BaseException) -> str:
    """The error in words; a full disk with the place and what is left there."""
    if isinstance(error, shutil.Error):
        error = _first_of(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        named = error.filename2 or error.filename  # of a copy's two places the second is the one written to
        place = Path(str(named)) if named else _fullest_disk()
        return f"no space left on the disk: {place} ({_space(place)})"
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return f"no space for a file this large: {error.filename or 'a file'} (a limit of the disk or of `ulimit -f`)"
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) and error.filename:
        return f"{os.strerror(error.errno)}: {error.filename2 or error.filename}"
    if isinstance(error, MemoryError):
        return f"out of memory {error}".strip()
    if kind_of(error) == "bug":
        return f"{type(error).__name__}: {error}".rstrip(": ")
    return str(error) or type(error).__name__


def _first_of(error: shutil.Error) -> BaseException:
    """Copying a folder collects the errors of all its files, as text: the first one, as if it had been raised."""
    with suppress(TypeError, ValueError, IndexError):
        _, place, said = error.args[0][0]
        if number := re.search(r"\[Errno (\d+)\]", str(said)):
            return OSError(int(number[1]), os.strerror(int(number[1])), str(place))
    return error


def _fullest_disk() -> Path:
    """A failed write() does not name its file: the disk with the least space left is the likely one."""
    places = [Path.cwd(), paths.home(), Path(tempfile.gettempdir())]
    return min((place for place in places if place.exists()), key=lambda place: shutil.disk_usage(place).free)


def _space(path: Path) -> str:
    while not path.exists() and path != path.parent:
        path = path.parent
    usage = shutil.disk_usage(path)
    return f"{usage.free / 1e6:,.0f} MB free of {usage.total / 1e6:,.0f} MB"


def _finite(value: Any) -> Any:
    """NaN and infinity are no JSON: they become null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
