"""Where a model comes from: every stage behind it as dvc.lock had it, down to the hash of every source file.

The record is taken when a version is registered, and kept with its run in MLflow. It alone says what the version was
made from; that dvc.lock and params.yaml have moved on since does not matter.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.files import md5_file, md5_path
from pipeline.fingerprint import locked_inputs, locked_outputs
from pipeline.graph import load_graph, overlap, select
from pipeline.params import leaves
from tasks.dvc_repo import lock_entries

if TYPE_CHECKING:
    from rich.tree import Tree

    from tasks.registry import Version

SOURCES = ("data/own", "data/raw/")  # folders of which every file is written down


def lineage_of(root: Path, stage: str) -> dict[str, Any]:
    """The record of a stage's outputs: stages (entries of dvc.lock), params, source files, the two files' text.

    Nothing in it depends on when or where it is taken. `files` has the folders' files as they lie there, unless they
    were changed since: then their folder's digest is all that is known.
    """
    entries = lock_entries(root)
    chain = {name: entries[name] for name in select(load_graph(root), [stage])}
    folders = {
        item["path"]: item["md5"]
        for entry in chain.values()
        for item in (*entry.get("deps", ()), *entry.get("outs", ()))
        if item["path"].startswith(SOURCES) and item["md5"].endswith(".dir")
    }
    params = {name: value for entry in chain.values() for name, value in locked_inputs(entry)["params"].items()}
    return {
        "stage": stage,
        "stages": chain,
        "params": leaves(params),
        "files": {path: _files(root, path) for path, md5 in folders.items() if md5_path(root / path, root=root) == md5},
        "dvc.lock": (root / "dvc.lock").read_text(encoding="utf-8"),
        "params.yaml": (root / "params.yaml").read_text(encoding="utf-8"),
    }


def tree_of(version: Version, record: Mapping[str, Any]) -> Tree:
    """The whole chain; a stage that several others read from is written out where it is met first."""
    from rich.markup import escape
    from rich.tree import Tree

    dirty = {"true": "the tree was dirty", "false": "clean"}.get(version.tags.get("git.dirty", ""), "")
    commit = version.tags.get("git.commit", "unknown")
    top = Tree(f"{escape(str(version))} · commit {commit}{' · ' if dirty else ''}{dirty} · MLflow run {version.run_id}")
    libraries = {name: value for name, value in sorted(version.tags.items()) if name.startswith("version.")}
    top.add("libraries  " + " ".join(f"{name.removeprefix('version.')}={value}" for name, value in libraries.items()))
    for path, md5 in record["model"].items():
        top.add(escape(f"{path}  {md5}"))
    _add_stage(top, record["stage"], record, set())
    return top


def _add_stage(above: Tree, name: str, record: Mapping[str, Any], written: set[str]) -> None:
    from rich.markup import escape

    if name in written:
        above.add(f"[bold]{name}[/bold]  (above)")
        return
    written.add(name)
    entry = record["stages"][name]
    inputs = locked_inputs(entry)
    branch = above.add(f"[bold]{name}[/bold]  {escape(str(entry['cmd']))}")
    for path, md5 in locked_outputs(entry).items():
        _add_file(branch, "→ ", path, md5, record)
    said = " ".join(
        f"{leaf}={json.dumps(value, ensure_ascii=False)}" for leaf, value in leaves(inputs["params"]).items()
    )
    branch.add(escape(f"parameters  {said}"))
    makers: list[str] = []
    for path, md5 in inputs["deps"].items():
        maker = _maker(path, record["stages"])
        _add_file(branch, "← ", path, md5, record, listed=maker is None)
        makers += [maker] if maker and maker not in makers else []
    for maker in makers:
        _add_stage(branch, maker, record, written)


def _add_file(branch: Tree, arrow: str, path: str, md5: str, record: Mapping[str, Any], listed: bool = True) -> None:
    from rich.markup import escape

    node = branch.add(escape(f"{arrow}{path}  {md5}"))
    for name, own in record["files"].get(path, {}).items() if listed else ():
        node.add(escape(f"{name}  {own}"))


def _maker(path: str, stages: Mapping[str, Any]) -> str | None:
    """The stage that writes a path; None for a source."""
    return next((name for name, entry in stages.items() for out in locked_outputs(entry) if overlap(path, out)), None)


def _files(root: Path, folder: str) -> dict[str, str]:
    return {file.relative_to(root / folder).as_posix(): md5_file(file) for file in _walk(root / folder)}


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(place) / name for name in sorted(files))
