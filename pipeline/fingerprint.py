"""What a stage is made from, as one digest: the same whether computed from the files or read back from dvc.lock.

The digest names a stage's parked results and MLflow runs. It covers the command, every dependency's md5 and every
parameter leaf, and nothing else: no time, host or path outside the repository. What names checkpoints and locks leaves
out how many processes share the work: a training goes on with another number of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.files import md5_path
from pipeline.graph import PARAMS_FILE, StageSpec, read_mapping

SHARING = ("processes", "sharding")  # leaves of `runtime`


def inputs_of(spec: StageSpec, root: Path | str = ".", *, cache: Path | None = None) -> dict[str, Any]:
    """What the stage would read now: {"cmd", "deps": {path: md5}, "params": {leaf: value}}. ValueError names a gap."""
    root = Path(root)
    cmd = list(spec.cmd) if isinstance(spec.cmd, tuple) else spec.cmd
    return {"cmd": cmd, "deps": _digests(spec, spec.deps, root, cache), "params": _values(spec, root)}


def outputs_of(spec: StageSpec, root: Path | str = ".", *, cache: Path | None = None) -> dict[str, str]:
    """The stage's outputs as they lie there now: {path: md5}. ValueError for one that is missing."""
    return _digests(spec, spec.outs, Path(root), cache)


def locked_inputs(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's entry of dvc.lock in the form of `inputs_of`."""
    params = {
        leaf if file == PARAMS_FILE else f"{file}:{leaf}": value
        for file, leaves in entry.get("params", {}).items()
        for leaf, value in leaves.items()
    }
    return {"cmd": entry["cmd"], "deps": _locked(entry.get("deps", ())), "params": params}


def locked_outputs(entry: Mapping[str, Any]) -> dict[str, str]:
    """A stage's entry of dvc.lock in the form of `outputs_of`."""
    return _locked(entry.get("outs", ()))


def digest(value: Any) -> str:
    """32 hex characters that stand for inputs or outputs (an MLflow digest takes 36)."""
    text = json.dumps(_plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def checkpoint_key(inputs: Mapping[str, Any]) -> str:
    """The digest of inputs that names a stage's checkpoints and its lock."""
    params = {
        name: value for name, value in inputs.get("params", {}).items() if name.removeprefix("runtime.") not in SHARING
    }
    if isinstance(params.get("runtime"), Mapping):
        params["runtime"] = {leaf: value for leaf, value in params["runtime"].items() if leaf not in SHARING}
    return digest({**inputs, "params": params})


def lookup(tree: Mapping[str, Any], leaf: str) -> Any:
    """The value at a dotted path. KeyError when there is none."""
    value: Any = tree
    for part in leaf.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise KeyError(leaf)
        value = value[part]
    return value


def _digests(spec: StageSpec, paths: Sequence[str], root: Path, cache: Path | None) -> dict[str, str]:
    try:
        return {path: md5_path(root / path, root=root, cache=cache) for path in sorted(paths)}
    except FileNotFoundError as error:
        raise ValueError(f"stage {spec.name}: {error.filename} does not exist") from None


def _values(spec: StageSpec, root: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    read: dict[str, dict[str, Any]] = {}
    for name in spec.params:
        file, colon, leaf = name.rpartition(":")
        file = file if colon else PARAMS_FILE
        tree = read[file] if file in read else read.setdefault(file, read_mapping(root / file))
        prefix = f"{file}:" if file != PARAMS_FILE else ""
        try:
            found = {leaf: lookup(tree, leaf)} if leaf else tree
        except KeyError:
            raise ValueError(f"stage {spec.name} reads {leaf!r}, which {root / file} does not hold") from None
        values.update({prefix + key: value for key, value in found.items()})
    return values


def _locked(entries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {entry["path"]: entry["md5"] for entry in entries}


def _plain(value: Any) -> Any:
    """Numbers that DVC holds to be equal (1 and 1.0) get one form: rewriting `0` as `0.0` is no change here either."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
