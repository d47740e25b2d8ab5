"""A finished result, kept until dvc.lock names it.

DVC commits a stage's outputs only after the stage's process has ended, and deletes them before it starts it again: who
is killed in between would lose a finished result. So every file of it has a second name in .scriptorium/kept/STAGE, a
link that takes no space, beside a record of what went in and came out. The next run on the same inputs takes it from
there, in the same MLflow run. There is one a stage, replaced by the next, removed once dvc.lock names it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline import outputs, paths
from pipeline.files import link_or_copy, remove_tree, write_json
from pipeline.fingerprint import digest, locked_inputs, locked_outputs
from pipeline.graph import StageSpec, read_mapping

LOCK_FILE = "dvc.lock"


def keep(spec: StageSpec, staging: Path, record: Mapping[str, Any]) -> None:
    """Keep what lies in STAGING. `record` has "inputs" (their digest) and "outputs" ({path: md5}).

    A disk that has no room for it is no reason to fail: the checkpoints are still there.
    """
    place = paths.kept(spec.name)
    beside = place.with_name(place.name + ".tmp")
    remove_tree(beside)
    try:
        for out in spec.outs:
            (beside / out).parent.mkdir(parents=True, exist_ok=True)
            if (staging / out).is_dir():
                shutil.copytree(staging / out, beside / out, copy_function=link_or_copy)
            else:
                link_or_copy(str(staging / out), str(beside / out))
        write_json(beside / outputs.RECORD, dict(record))
        remove_tree(place)
        beside.rename(place)
    except OSError:
        with suppress(OSError):
            remove_tree(beside)


def take(spec: StageSpec, inputs: str, staging: Path) -> dict[str, Any] | None:
    """Bring a kept result of these inputs to STAGING; None when there is none, it was damaged, or DVC has it already.

    (What dvc.lock names and is made again is meant to be made again: `dvc repro --force`.)
    """
    prune(spec.name)
    if _record(spec.name).get("inputs") != inputs:
        return None
    return outputs.unpark(spec, paths.kept(spec.name), staging)


def prune(stage: str) -> None:
    """Remove the kept result that dvc.lock names."""
    record = _record(stage)
    entry = locked(stage)
    if record and entry.get("outs") and digest(locked_inputs(entry)) == record["inputs"]:
        remove_tree(paths.kept(stage))


def locked(stage: str, root: Path | str = ".") -> dict[str, Any]:
    """The stage's entry of dvc.lock, {} when there is none, or while DVC, which writes it non-atomically, does so."""
    try:
        entry = read_mapping(Path(root, LOCK_FILE))["stages"][stage]
        locked_inputs(entry), locked_outputs(entry)
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return dict(entry)


def _record(stage: str) -> dict[str, Any]:
    try:
        found = json.loads((paths.kept(stage) / outputs.RECORD).read_text(encoding="utf-8"))
        return dict(found) if {"inputs", "outputs"} <= found.keys() else {}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
