"""The results of a run of the pipeline, wherever they lie: what made them (as dvc.lock says it), numbers, and files.

`tasks/references.py` makes a `Result` from what a person names. Its files are read from the first place that has them:
DVC's cache, by their md5; the workspace, if the very same bytes lie there; MLflow's artifacts.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from pipeline.files import md5_path
from pipeline.fingerprint import locked_inputs, locked_outputs
from pipeline.graph import overlap
from pipeline.params import leaves

Entry = Mapping[str, Any]  # a stage of dvc.lock


class Place(Protocol):
    """Somewhere that files can be read from, by their path in the workspace."""

    def read(self, path: str) -> bytes | None:
        """The file's bytes, or None when it is not here."""

    def names(self, folder: str) -> list[str]:
        """The files of a folder, by their path below it; none when it is not here."""


@dataclass(frozen=True)
class Result:
    """`stages`: what is known of each stage, in the order in which they ran. `name` is what the person wrote.

    `stage`: the one stage whose run was named. `runs`: MLflow runs, stage by stage, as far as they are known.
    `logged`: metrics as MLflow has them, for stages whose metrics.json cannot be read. `dirty`: the code had changes
    that no commit holds.
    """

    name: str
    kind: str
    stages: Mapping[str, Entry]
    places: tuple[Place, ...] = ()
    commit: str | None = None
    dirty: bool | None = None
    stage: str | None = None
    runs: Mapping[str, str] = field(default_factory=dict)
    logged: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def read(self, path: str) -> bytes | None:
        """The bytes of an output file; None when no place has it."""
        return next((data for place in self.places if (data := place.read(path)) is not None), None)

    def names(self, folder: str) -> list[str]:
        """The files of an output folder."""
        return next((found for place in self.places if (found := place.names(folder))), [])

    def rows(self, path: str) -> list[dict[str, Any]] | None:
        """The lines of a JSON Lines file; None when no place has it."""
        data = self.read(path)
        return None if data is None else [json.loads(line) for line in data.decode().splitlines() if line.strip()]

    def checkout(self, folder: str, place: Path) -> bool:
        """Write an output folder below `place`, under its own path; False when it is nowhere whole."""
        names = self.names(folder)
        for name in names:
            data = self.read(f"{folder}/{name}")
            if data is None:
                return False
            file = place / folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        return bool(names)

    @cached_property
    def params(self) -> dict[str, Any]:
        """Every parameter leaf that the stages read; where two read different values, a line for each stage."""
        read: dict[str, dict[str, Any]] = {}
        for stage, entry in self.stages.items():
            for leaf, value in leaves(locked_inputs(entry)["params"]).items():
                read.setdefault(leaf, {})[stage] = value
        found: dict[str, Any] = {}
        for leaf, values in read.items():
            same = all(value == next(iter(values.values())) for value in values.values())
            found |= {leaf: next(iter(values.values()))} if same else {f"{s}: {leaf}": v for s, v in values.items()}
        return found

    @cached_property
    def inputs(self) -> dict[str, dict[str, str]]:
        """Stage → path → md5 of everything it read."""
        return {stage: locked_inputs(entry)["deps"] for stage, entry in self.stages.items()}

    @cached_property
    def outputs(self) -> dict[str, str]:
        """Path → md5 of everything that the stages made."""
        return {path: md5 for entry in self.stages.values() for path, md5 in locked_outputs(entry).items()}

    @cached_property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Stage → dotted name → value: metrics.json, or what MLflow was told."""
        found: dict[str, dict[str, Any]] = {}
        for stage in self.stages:
            if (data := self.read(f"reports/{stage}/metrics.json")) is not None:
                found[stage] = leaves(json.loads(data))
            elif stage in self.logged:
                found[stage] = dict(self.logged[stage])
        return found


@dataclass(frozen=True)
class Cache:
    """DVC's cache: `outputs` path → md5, `object_of` md5 → file."""

    outputs: Mapping[str, str]
    object_of: Callable[[str], Path]

    def read(self, path: str) -> bytes | None:
        md5 = self.outputs.get(path)
        if md5 is None:
            out = _out_of(path, self.outputs)
            md5 = self._listing(out).get(str(PurePosixPath(path).relative_to(out))) if out else None
        with suppress(FileNotFoundError):
            return self.object_of(md5).read_bytes() if md5 else None
        return None

    def names(self, folder: str) -> list[str]:
        out = _out_of(folder, self.outputs)
        if out is None:
            return []
        below = f"{PurePosixPath(folder).relative_to(out)}/" if folder != out else ""
        return sorted(name.removeprefix(below) for name in self._listing(out) if name.startswith(below))

    def _listing(self, out: str) -> dict[str, str]:
        """The files of a cached folder: path below it → md5."""
        md5 = self.outputs[out]
        try:
            entries = json.loads(self.object_of(md5).read_bytes()) if md5.endswith(".dir") else []
        except FileNotFoundError:
            return {}
        return {entry["relpath"]: entry["md5"] for entry in entries}


@dataclass(frozen=True)
class Workspace:
    """The files that lie in the workspace, as far as they still are the ones that were made."""

    outputs: Mapping[str, str]
    root: Path

    def read(self, path: str) -> bytes | None:
        return (self.root / path).read_bytes() if self._same(path) and (self.root / path).is_file() else None

    def names(self, folder: str) -> list[str]:
        place = self.root / folder
        if not place.is_dir() or not self._same(folder):
            return []
        return sorted(file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file())

    def _same(self, path: str) -> bool:
        out = _out_of(path, self.outputs)
        with suppress(FileNotFoundError):
            return out is not None and md5_path(self.root / out, root=self.root) == self.outputs[out]
        return False


@dataclass(frozen=True)
class Artifacts:
    """What the stages' MLflow runs keep: reports/STAGE/FILE is the artifact FILE of that stage's run."""

    client: Any
    runs: Mapping[str, str]

    def read(self, path: str) -> bytes | None:
        run_id, inside = self._run_and_file(path)
        if run_id is None:
            return None
        parent = str(PurePosixPath(inside).parent)
        kept = self.client.list_artifacts(run_id, None if parent == "." else parent)
        if inside not in [item.path for item in kept]:
            return None
        with tempfile.TemporaryDirectory() as scratch:
            return Path(self.client.download_artifacts(run_id, inside, scratch)).read_bytes()

    def names(self, folder: str) -> list[str]:
        run_id, inside = self._run_and_file(folder)
        found = self.client.list_artifacts(run_id, inside) if run_id is not None else []
        return sorted(PurePosixPath(item.path).name for item in found if not item.is_dir)

    def _run_and_file(self, path: str) -> tuple[str | None, str]:
        parts = PurePosixPath(path).parts
        return (
            (self.runs.get(parts[1]), "/".join(parts[2:])) if parts[0] == "reports" and len(parts) > 2 else (None, "")
        )


def _out_of(path: str, outputs: Mapping[str, str]) -> str | None:
    """The output that a path is, or lies in."""
    return next((out for out in outputs if overlap(out, path) and len(out) <= len(path)), None)
