"""The ledger: which MLflow run made which bytes. Append-only JSON Lines in HOME, read before MLflow is asked.

A line: {stage, inputs, outputs, key, run_id}; inputs and outputs are `fingerprint.digest`s, `run_id` is null as long as
the run has reached no tracking server. Lines of another kind, {md5, syntax}, are `pipeline/syntax.py`'s. It is a memory
only: deleting it costs look-ups in MLflow, and a run where only comments changed, nothing else.
"""

from __future__ import annotations

import json
import os
from typing import Any

from pipeline import paths


def append(entry: dict[str, Any]) -> None:
    """Add one line; a single write to a file opened for appending, so that parallel stages don't mix their lines."""
    file = paths.ledger_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(entry, sort_keys=True, ensure_ascii=False) + "\n"
    descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # a power cut in the middle of a line
        os.write(descriptor, (("\n" if torn else "") + line).encode())
    finally:
        os.close(descriptor)


def entries() -> list[dict[str, Any]]:
    """All lines that can be read, oldest first."""
    try:
        lines = paths.ledger_file().read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [entry for line in lines if (entry := _parse(line)) is not None]


def newest(**fields: Any) -> dict[str, Any] | None:
    """What is known of the newest run whose line has these values, or None: `newest(stage="pretrain", outputs=…)`.

    A run's last line counts, and the place of its first: `make sync` may add one for a run of last week.
    """
    found: dict[Any, dict[str, Any]] = {}
    for entry in entries():
        if all(entry.get(name) == value for name, value in fields.items()):
            found[entry.get("key")] = entry
    return next(reversed(found.values()), None)


def _parse(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
