"""Checkpoints that survive a kill at any instant.

    step-120/   weights.safetensors  optimizer.safetensors  [best.safetensors]  history.jsonl  state.json  digests.json

A checkpoint is written beside its final name, flushed to the disk, and then renamed, so that under the final name it is
whole; `digests.json` has every other file's SHA-256, so that a file cut short or flipped later is found out. The newest
two are kept. Tensors are safetensors, all else is JSON: reading one runs no code.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gpt.tensor_file import save_tensors

KEPT = 2
DIGESTS = "digests.json"
NEEDED = {"weights.safetensors", "optimizer.safetensors", "history.jsonl", "state.json"}
Tensors = dict[str, Tensor]


@dataclass
class Checkpoint:
    """Everything to go on from after `step` updates. Generators have no state here: each is derived by name."""

    step: int
    state: dict[str, Any]
    """Plain values (JSON)."""
    history: list[dict[str, Any]]
    weights: Tensors
    optimizer: Tensors
    best: Tensors | None = None


def save_checkpoint(folder: Path, checkpoint: Checkpoint, passing: Callable[[str], None] = lambda point: None) -> Path:
    """Write folder/step-N, then remove all but the newest two. OSError leaves those that were there as they were.

    passing: told of every point at which a kill would leave another state of the disk behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{checkpoint.step}"
    partial = folder / f"{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        passing("before write")
        write_files(partial, checkpoint, passing)
        for path in [*sorted(partial.iterdir()), partial]:
            flush(path)
        passing("after flush")
        if final.exists():  # a damaged one, or of the very same step
            shutil.rmtree(final)
        passing("before rename")
        partial.rename(final)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)  # its bytes may be what fills the disk
        raise
    passing("after rename")
    flush(folder)
    remove_older(folder)
    return final


def write_files(folder: Path, checkpoint: Checkpoint, passing: Callable[[str], None]) -> None:
    """Every file of a checkpoint, its digests last."""
    tensors = {"weights": checkpoint.weights, "optimizer": checkpoint.optimizer, "best": checkpoint.best}
    for name, found in tensors.items():
        if found is not None:
            save_tensors(folder / f"{name}.safetensors", found)
            passing("after write")
    write_text(folder / "history.jsonl", "".join(json.dumps(row) + "\n" for row in checkpoint.history))
    passing("after write")
    write_json(folder / "state.json", {**checkpoint.state, "step": checkpoint.step})
    passing("after write")
    write_json(folder / DIGESTS, {path.name: sha256(path) for path in sorted(folder.iterdir())})
    passing("after write")


def load_newest(folder: Path, report: Callable[[str], None], remove_damaged: bool = True) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None; each damaged one on the way is reported, and removed."""
    for path in reversed(checkpoints_in(folder)):
        try:
            return load_checkpoint(path)
        except ValueError as error:
            report(f"{error}; going back to the one before")
            if remove_damaged:
                shutil.rmtree(path, ignore_errors=True)
    return None


def load_checkpoint(path: Path) -> Checkpoint:
    """Read and verify one; ValueError says what is wrong with it."""
    try:
        digests: dict[str, str] = json.loads((path / DIGESTS).read_text(encoding="utf-8"))
        if missing := NEEDED - digests.keys():
            raise ValueError(f"{DIGESTS} has no digest of {', '.join(sorted(missing))}")
        for name, digest in digests.items():
            if sha256(path / name) != digest:
                raise ValueError(f"{name} was changed or cut short")
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        lines = (path / "history.jsonl").read_text(encoding="utf-8").splitlines()
        best = load_file(path / "best.safetensors") if "best.safetensors" in digests else None
        return Checkpoint(
            step=state.pop("step"),
            state=state,
            history=[json.loads(line) for line in lines],
            weights=load_file(path / "weights.safetensors"),
            optimizer=load_file(path / "optimizer.safetensors"),
            best=best,
        )
    except (FileNotFoundError, NotADirectoryError, SafetensorError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"checkpoint {path} is damaged ({error})") from None


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints under their final names, oldest first."""
    named = [path for path in folder.glob("step-*") if re.fullmatch(r"step-\d+", path.name)]
    return sorted(named, key=lambda path: int(path.name.removeprefix("step-")))


def remove_older(folder: Path) -> None:
    for path in checkpoints_in(folder)[:-KEPT]:
        shutil.rmtree(path)
    for path in folder.glob("*.partial"):
        shutil.rmtree(path)


def write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """To the disk itself, so that a power cut can't leave a name without its bytes."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
