"""A registered version's workspace as it was, in a folder of its own, and whether it is the same bit for bit.

The folder is a git worktree at the version's commit, with its params.yaml and dvc.lock, and takes the data and models
out of this workspace's DVC cache. What cannot be had again is said by name: code that was never committed, files that
are no longer in the cache.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.files import md5_path, write_atomic
from pipeline.fingerprint import locked_inputs, locked_outputs
from tasks.dvc_repo import cache_folder

SAME, DIFFERS, MISSING = "same", "differs", "missing"


@dataclass(frozen=True)
class Checked:
    """A path of the record and what was found there: `state` is "same", "differs" or "missing"."""

    path: str
    md5: str
    state: str
    made: bool  # by a stage, or a source

    def __str__(self) -> str:
        if self.made:
            gone = "is not in DVC's cache (`dvc fetch` brings it from a remote; `dvc repro` makes it again)"
        else:
            gone = "is not in the commit: it was never committed"
        said = {SAME: "is the same", MISSING: gone}.get(self.state, "")
        if self.state == DIFFERS:
            said = "differs" if self.made else "differs in the commit: the tree was dirty when the model was made"
        return f"{self.path}  {self.md5}  {said}"


def check_out(root: Path, commit: str, record: Mapping[str, Any], folder: Path) -> list[Checked]:
    """Make the workspace of a record in FOLDER, which must not be there yet; every output and source, as found.

    ValueError when the commit is unknown here, or the folder exists.
    """
    folder = folder.absolute()
    if folder.exists():
        raise ValueError(f"{folder} exists: name a folder that is not there yet")
    if _git(root, "cat-file", "-e", f"{commit}^{{commit}}").returncode:
        raise ValueError(f"commit {commit} is not in this repository: `git fetch` may bring it")
    made = _git(root, "worktree", "add", "--quiet", "--detach", str(folder), commit)
    if made.returncode:
        raise ValueError(f"git worktree: {' '.join(made.stderr.split())}")
    for name in ("params.yaml", "dvc.lock"):
        write_atomic(folder / name, record[name])
    write_atomic(folder / ".dvc" / "config.local", f"[cache]\n    dir = {cache_folder(root)}\n")
    # What it cannot find it says for each file; `checked` says it once for each output, and in our words.
    command = [sys.executable, "-m", "dvc", "checkout", "--force", "--quiet", *record["stages"]]
    subprocess.run(command, cwd=folder, check=False, capture_output=True)
    return checked(folder, record)


def checked(folder: Path, record: Mapping[str, Any]) -> list[Checked]:
    """Every output and every source of the record, digested where it lies in FOLDER."""
    outs: dict[str, str] = {}
    deps: dict[str, str] = {}
    for entry in record["stages"].values():
        outs |= locked_outputs(entry)
        deps |= locked_inputs(entry)["deps"]
    sources = {path: md5 for path, md5 in deps.items() if path not in outs}
    return [
        Checked(path, md5, _state(folder, path, md5), made)
        for made, listed in ((True, outs), (False, sources))
        for path, md5 in listed.items()
    ]


def in_words(found: list[Checked], folder: Path, dirty: bool) -> str:
    """The result for a person: what is the same in one line, everything else by name."""
    other = [each for each in found if each.state != SAME]
    outs = sum(each.made for each in found)
    if not other:
        return f"{folder}: {outs} outputs and {len(found) - outs} sources are the same, bit for bit"
    lines = [f"{folder}: {len(found) - len(other)} of {len(found)} outputs and sources are the same; not so:"]
    lines += [f"  {each}" for each in other]
    if dirty:
        lines.append("  (git.dirty is true: files had been edited and not committed when the model was made)")
    return "\n".join(lines)


def _state(folder: Path, path: str, md5: str) -> str:
    try:
        return SAME if md5_path(folder / path, root=folder) == md5 else DIFFERS
    except FileNotFoundError:
        return MISSING


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=root, check=False, capture_output=True, text=True)
