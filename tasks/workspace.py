"""Workspaces of their own for a sweep's trials, beside the person's, with the cache shared; and trials as experiments.

A snapshot (the last commit, with whatever was changed or added since) is made once, so that nothing that is edited
while a sweep runs gets into it. Each trial works in a copy, through the same tasks as any flow, and is then saved by
`dvc exp save`; git brings that experiment over. `dvc exp run --temp` and DVC's queue do without the rest: stages of
trials that start together would run twice, a killed trial's workspace is given up, and nothing hears of an evaluation.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.files import link_or_copy, remove_tree, write_atomic
from pipeline.graph import PARAMS_FILE
from pipeline.locks import hold
from pipeline.params import dump_yaml, read_yaml
from pipeline.sweep_file import with_values
from tasks.dvc_repo import cache_folder, drop_lock_entries


def head_commit(root: Path) -> str:
    """The commit that trials are experiments on. ValueError: there is none, or this is not the repository's folder."""
    found = _git(root, "rev-parse", "--show-toplevel", "--verify", "HEAD", check=False)
    top, _, commit = found.partition("\n")
    if not commit or Path(top).resolve() != root.resolve():
        raise ValueError(
            "a sweep keeps its trials as DVC experiments, which belong to a commit: "
            "this folder must be a git repository with at least one"
        )
    return commit


def take_snapshot(root: Path, folder: Path) -> None:
    """Copy the workspace as it is (commit, changes, files that git neither knows nor ignores; no outputs) to FOLDER."""
    beside = folder.with_name(folder.name + ".new")
    remove_tree(beside)
    beside.parent.mkdir(parents=True, exist_ok=True)
    commit = head_commit(root)
    _git(root, "clone", "--quiet", "--shared", "--no-checkout", "--no-tags", str(root.absolute()), str(beside))
    _git(beside, "checkout", "--quiet", "--detach", commit)
    listed = _git(root, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    for name in filter(None, listed):
        (beside / name).parent.mkdir(parents=True, exist_ok=True)
        if (root / name).is_symlink() or (root / name).is_file():
            shutil.copy(root / name, beside / name, follow_symlinks=False)
        elif not (root / name).exists():
            (beside / name).unlink(missing_ok=True)
    if (root / ".dvc" / "config.local").is_file():
        shutil.copy(root / ".dvc" / "config.local", beside / ".dvc" / "config.local")
    _dvc(beside, "config", "--local", "cache.dir", str(cache_folder(root)))
    _dvc(beside, "config", "--local", "cache.type", "reflink,hardlink,copy")  # stages replace files, never edit them
    for what, value in (("name", "Scriptorium"), ("email", "scriptorium@localhost")):
        if not _git(beside, "config", f"user.{what}", check=False):
            _git(beside, "config", f"user.{what}", value)
    beside.rename(folder)


def make_workspace(snapshot: Path, folder: Path, values: Mapping[str, Any]) -> None:
    """A copy of the snapshot with these parameters. One that is there already is taken as it is: its trial goes on."""
    if folder.is_dir():
        return
    beside = folder.with_name(folder.name + ".new")
    remove_tree(beside)
    shutil.copytree(snapshot, beside, symlinks=True, copy_function=link_or_copy)
    tree = with_values(read_yaml(beside / PARAMS_FILE), values)
    write_atomic(beside / PARAMS_FILE, dump_yaml(tree))
    beside.rename(folder)


def save_experiment(
    workspace: Path, root: Path, name: str, stages: Sequence[str], message: str, missed: Collection[str] = ()
) -> bool:
    """Make the workspace the experiment NAME of ROOT, with the results of these stages; whether there was any.

    missed: the stages that the trial should have reached and did not. Those that it was not to reach stay recorded as
    they were: `dvc exp apply` wants something for every stage, and DVC holds them to be stale.
    RuntimeError with DVC's or git's own words when they refuse.
    """
    if not stages:
        return False
    drop_lock_entries(workspace, list(missed))
    _dvc(workspace, "exp", "save", "--force", "--name", name, "--message", message, *stages)
    commit = _git(workspace, "rev-parse", "HEAD")
    reference = f"refs/exps/{commit[:2]}/{commit[2:]}/{name}"
    with hold("experiments"):
        fetch = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", str(workspace.absolute()))
        _git(root, *fetch, f"+{reference}:{reference}")
    return True


def apply_experiment(root: Path, name: str, stages: Sequence[str]) -> None:
    """Put an experiment's parameters, and the outputs of these stages, into the workspace.

    `dvc exp apply` does it all, and then complains of stages that never ran: those are none of ours.
    """
    try:
        _dvc(root, "exp", "apply", name)
    except RuntimeError as error:
        if "Checkout failed" not in str(error):
            raise
        _dvc(root, "checkout", *stages)


def _dvc(root: Path, *arguments: str) -> str:
    return _run(root, sys.executable, "-P", "-m", "dvc", "--wait-for-lock", *arguments)


def _git(root: Path, *arguments: str, check: bool = True) -> str:
    return _run(root, "git", *arguments, check=check)


def _run(root: Path, *command: str, check: bool = True) -> str:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if check and done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise RuntimeError(f"{' '.join(command[-4:])} failed: {said[-500:]}")
    return done.stdout.strip() if check or not done.returncode else ""
