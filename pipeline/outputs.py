"""A stage's outputs on their way: from staging into place, or aside while their inputs are being edited.

Rename is the only step that touches the workspace. What lay there before is put aside first and put back when a rename
fails, so that one sees all of the new outputs or all of the old ones (a power cut in the middle excepted).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.files import remove_tree, write_json
from pipeline.fingerprint import outputs_of
from pipeline.graph import StageSpec

RECORD = "parked.json"


def publish(outs: Sequence[str], staging: Path, root: Path) -> None:
    """Move every output from STAGING/out to ROOT/out, or none. STAGING must lie in the same file system."""
    old = staging.with_name(staging.name + ".old")
    remove_tree(old)
    moved: list[tuple[Path, Path]] = []
    try:
        for out in outs:
            if os.path.lexists(root / out):
                _rename(root / out, old / out, moved)
            _rename(staging / out, root / out, moved)
    except BaseException:
        for source, place in reversed(moved):
            place.rename(source)
        raise
    remove_tree(old)


def park(staging: Path, parked: Path, record: dict[str, Any]) -> None:
    """Keep a finished result (and what its record says) in PARKED, which appears complete or not at all."""
    beside = parked.with_name(parked.name + ".tmp")
    remove_tree(beside)
    remove_tree(parked)
    beside.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(staging, beside)
    write_json(beside / RECORD, record)
    beside.rename(parked)


def unpark(spec: StageSpec, parked: Path, staging: Path) -> dict[str, Any] | None:
    """Bring a parked result back to STAGING; None when there is none, or its bytes are not those of its record."""
    try:
        record: dict[str, Any] = json.loads((parked / RECORD).read_text(encoding="utf-8"))
        whole = outputs_of(spec, parked) == record["outputs"]
    except (FileNotFoundError, ValueError, KeyError):
        whole = False
    if not whole:
        remove_tree(parked)
        return None
    remove_tree(staging)
    staging.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(parked, staging)
    (staging / RECORD).unlink()  # last: a parked folder without its record would lie there for ever
    return record


def _rename(source: Path, place: Path, moved: list[tuple[Path, Path]]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    source.rename(place)
    moved.append((source, place))
