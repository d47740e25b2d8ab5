"""The record of runs, seen from the stages and the flow. Nothing here needs a tracking server, and none can do harm.

A run writes its journal; a `Follower` process beside it sends that to MLflow. A flow has a parent run, a journal too,
whose key it hands to its stages in SCRIPTORIUM_PARENT, and one follower for all of them. What a skipped stage made
earlier is found by `find_run`.
SCRIPTORIUM_SYNC=0 keeps to the journal alone; `make sync` sends it later.
"""

from __future__ import annotations

import getpass
import os
import platform
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline import children, ledger, paths, sync
from pipeline.database import check
from pipeline.journal import FINISHED, Journal
from pipeline.locks import this_process
from pipeline.secrets import without_password
from pipeline.store import QUIET, store, tracking_uri

LIBRARIES = ("torch", "numpy", "safetensors", "tiktoken", "tokenizers", "pandas", "scikit-learn", "dvc", "mlflow")
FINAL_WAIT_S = 20.0
LOG_BYTES = 1 << 20
_down_until = 0.0  # after a failed search, this process leaves the server alone for a while


class Follower:
    """`python -m pipeline.sync --follow KEY`, for as long as this process lives. Its pipe tells it when that ends.

    parent: the journal of the flow that this run belongs to. As long as the flow's follower lives it sends KEY, too:
    none is started, and none is waited for. of_flow: it is that follower, and sends what its stages ask it to.
    """

    def __init__(self, key: str, *, parent: str | None = None, of_flow: bool = False) -> None:
        self.key = key
        self.process: subprocess.Popen[bytes] | None = None
        self._joined = children.join(parent, key) if parent is not None else None
        if self._joined is None and os.environ.get("SCRIPTORIUM_SYNC") != "0":
            self._start(children.make(key) if of_flow else None)

    def _start(self, pipe: int | None = None) -> None:
        handed = [] if pipe is None else ["--children", str(pipe)]
        root = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH")) if part)
        environment = {**QUIET, **os.environ, "SCRIPTORIUM_HOME": str(paths.home().absolute()), "PYTHONPATH": path}
        log = paths.logs() / "sync.log"
        with suppress(OSError):  # no process to spare: the journal waits for the next one
            log.parent.mkdir(parents=True, exist_ok=True)
            mode = "ab" if not log.exists() or log.stat().st_size < LOG_BYTES else "wb"
            with log.open(mode) as out:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "pipeline.sync", "--follow", self.key, *handed],
                    stdin=subprocess.PIPE, stdout=out, stderr=out, env=environment,
                    pass_fds=() if pipe is None else (pipe,),
                    start_new_session=True,  # the signal that stops a stage must not stop its record
                )  # fmt: skip
        if pipe is not None:
            os.close(pipe)

    def finish(self, wait_s: float = FINAL_WAIT_S) -> bool:
        """Let it send the rest; whether it has ended. One that needs longer than `wait_s` goes on alone."""
        if self._joined is not None:
            there, self._joined = children.leave(self._joined, self.key), None
            if not there:  # the flow's follower was killed
                self._start()
        if self.process is not None and self.process.stdin is not None:
            with suppress(OSError):
                self.process.stdin.close()
            try:
                self.process.wait(wait_s)
            except subprocess.TimeoutExpired:
                return False
        return True


@dataclass
class Parent:
    """A flow's own run; hand `key` to the stages as SCRIPTORIUM_PARENT."""

    key: str
    journal: Journal
    follower: Follower


def start_parent(
    name: str,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    *,
    key: str | None = None,
    parent: str | None = None,
) -> Parent:
    """Open the flow's run: writes a journal and returns at once.

    key: of a run that was interrupted and goes on (see `new_key`); parent: the key of the run that this one is part of.
    """
    journal = Journal(key or new_key(name))
    all_tags = {"scriptorium.flow": name, **code_tags(f"flows.{name}"), **(tags or {})}
    details = {"name": name, "parent": parent, "params": dict(params or {}), "tags": all_tags}
    journal.write("start", **details, process=this_process())
    return Parent(journal.key, journal, Follower(journal.key, of_flow=True))


def new_key(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:12]}"


def finish_parent(
    parent: Parent,
    rows: Sequence[Mapping[str, Any]] = (),
    *,
    status: str = FINISHED,
    text: str = "",
    metrics: Mapping[str, float] | None = None,
    wait_s: float = FINAL_WAIT_S,
) -> str | None:
    """Close the flow's run with a summary (rows of equal keys; `run_id` and `key` become a link). Returns its run id.

    The summary is the run's description and its artifact summary.md. None: no tracking server has it yet.
    """
    if metrics:
        parent.journal.metrics(metrics, step=0)
    parent.journal.write("summary", rows=[dict(row) for row in rows], text=text)
    parent.journal.end(status)
    parent.follower.finish(wait_s)
    return sync.run_id_of(parent.key)


def why_unsent() -> str:
    """A sentence where PostgreSQL does not let us in: nobody would look for it in the log of the follower."""
    try:
        check(tracking_uri(), "MLFLOW_TRACKING_URI")
    except ValueError as error:
        return f"{error}; the record of this run waits here, and `make sync` sends it"
    return ""


def find_run(stage: str, inputs: str, outputs: str) -> str | None:
    """The newest run that made these outputs from these inputs (digests), or, where none did, from whatever inputs.

    By the ledger, then by MLflow's tags. Other inputs than any run's stand in dvc.lock where comments were edited and
    the outputs taken as they are, or after somebody's `dvc commit`.
    """
    for made in ({"inputs": inputs, "outputs": outputs}, {"outputs": outputs}):
        entry = ledger.newest(stage=stage, **made)
        if entry is not None and (known := entry.get("run_id") or sync.run_id_of(entry["key"])):
            return str(known)
        if found := _search({"dvc.stage": stage, **{f"dvc.{name}": value for name, value in made.items()}}):
            return found
    return None


def _search(tags: dict[str, str]) -> str | None:
    global _down_until
    uri = tracking_uri()
    if uri == f"sqlite:///{paths.mlflow_db().absolute()}" and not paths.mlflow_db().exists():
        return None
    if time.monotonic() < _down_until:
        return None
    try:
        return store(uri).find(tags)
    except Exception as error:  # whatever it is: a record that cannot be read stops nothing
        _down_until = time.monotonic() + sync.REST_S
        why = f"MLflow at {without_password(uri)} does not answer ({type(error).__name__})"
        print(f"{error if isinstance(error, ValueError) else why}: links to earlier runs are left out")
        return None


def code_tags(source: str) -> dict[str, str]:
    """Tags that say which code ran: git commit, uncommitted changes, library versions. Without git: fewer."""
    tags = {"mlflow.source.name": source, "mlflow.source.type": "LOCAL", "version.python": platform.python_version()}
    with suppress(OSError, KeyError, ImportError):
        tags["mlflow.user"] = getpass.getuser()
    if commit := _git("rev-parse", "HEAD"):
        tags["mlflow.source.git.commit"] = commit
        tags["git.dirty"] = "true" if _git("status", "--porcelain", "--untracked-files=no") else "false"
    for library in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            tags[f"version.{library}"] = metadata.version(library)
    return tags


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
