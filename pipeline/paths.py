"""Where the project's own bookkeeping lies: everything that DVC does not track and git ignores.

`SCRIPTORIUM_HOME` moves it (an absolute path; experiment workspaces share one home that way); by default it is
`.scriptorium/` in the current folder, which for every command of this project is the repository's root.
"""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The absolute folder of checkpoints, journal, locks, ledger and stores; ValueError when it is set but relative."""
    named = os.environ.get("SCRIPTORIUM_HOME")
    if named and not Path(named).is_absolute():
        raise ValueError(f"SCRIPTORIUM_HOME is {named!r}: it must be an absolute path")
    return Path(named) if named else Path.cwd() / ".scriptorium"


def staging(stage: str) -> Path:
    """Where a stage builds its outputs: always inside the workspace, so that moving them into place is one rename."""
    return Path.cwd() / ".scriptorium" / "staging" / stage


def checkpoints(stage: str, fingerprint: str = "") -> Path:
    return home() / "checkpoints" / stage / fingerprint


def parked(stage: str, fingerprint: str) -> Path:
    """Where a result waits whose inputs were edited while it was computed."""
    return home() / "parked" / stage / fingerprint


def kept(stage: str) -> Path:
    """Where a finished result has a second name until DVC has it: beside staging, so that a link is all it takes."""
    return Path.cwd() / ".scriptorium" / "kept" / stage


def downloads() -> Path:
    return home() / "downloads"


def locks() -> Path:
    return home() / "locks"


def sweeps(name: str) -> Path:
    """A sweep's study, the snapshot its trials start from, their workspaces, its tables and plots."""
    return home() / "sweeps" / name


def digests() -> Path:
    """The cache of large files' digests."""
    return home() / "digests.db"


def logs() -> Path:
    return home() / "logs"


def journal() -> Path:
    return home() / "journal"


def ledger_file() -> Path:
    return home() / "ledger.jsonl"


def mlflow_db() -> Path:
    return home() / "mlflow.db"


def mlartifacts() -> Path:
    return home() / "mlartifacts"


def artifacts() -> str:
    """Where MLflow keeps artifacts: SCRIPTORIUM_ARTIFACTS, an address such as s3://bucket/mlflow, else our folder."""
    return os.environ.get("SCRIPTORIUM_ARTIFACTS") or mlartifacts().absolute().as_uri()


def inductor_cache() -> Path:
    return home() / "torchinductor"


def mirror() -> str | None:
    """SCRIPTORIUM_MIRROR: an address as it is, a folder as an absolute path (it is relative to where one stands)."""
    named = os.environ.get("SCRIPTORIUM_MIRROR", "")
    if not named:
        return None
    return named if "://" in named else str(Path(named).absolute())
