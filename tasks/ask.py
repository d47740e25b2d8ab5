"""Asks the followed sources in a process of its own (`python -m stages.sources`) and keeps their lock file.

What was found is compared with the lock, not with what was known: a lock that git put back counts as it stands.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.followed import Lock, entry_of, followed, locked_hash, read_lock, write_lock
from pipeline.params import PARAMS_FILE, load_params
from pipeline.receipt import read_receipt
from tasks.command import run_supervised
from tasks.reproduce import Setting


@dataclass(frozen=True)
class Change:
    """A followed source whose bytes are others than the lock says. `before`: None where it had none."""

    name: str
    before: str | None
    now: str


class Passing(ConnectionError):
    """The sources could not be asked, and trying later may help."""


def ask_sources(setting: Setting, log: Callable[[str], None] = print) -> dict[str, Any]:
    """What stands at each followed address now, {KIND/NAME: {"sha256", "how", …}}; no process where none is followed.

    Raises Passing where the network is to blame, ValueError for anything else.
    """
    if not any(followed(load_params(setting.root / PARAMS_FILE).download)):
        return {}
    setting.scratch.mkdir(parents=True, exist_ok=True)
    answers, receipt_file = setting.scratch / "sources.json", setting.receipt_file("sources")
    for file in (answers, receipt_file):
        file.unlink(missing_ok=True)
    told = {"SCRIPTORIUM_HOME": str(paths.home()), "SCRIPTORIUM_RECEIPT": str(receipt_file.absolute())}
    end = run_supervised(
        [sys.executable, "-m", "stages.sources", "--into", str(answers.absolute())],
        folder=setting.root,
        environment={**os.environ, **told, "PYTHONUNBUFFERED": "1"},
        stop=setting.stop,
        grace_s=setting.grace_s,
        log=log,
    )
    if end.status == 0 and answers.exists():
        found: dict[str, Any] = json.loads(answers.read_text(encoding="utf-8"))
        return found
    receipt = read_receipt(receipt_file)
    message = receipt.message if receipt is not None and receipt.message else "\n".join(end.tail) or "it was stopped"
    kind = Passing if receipt is not None and receipt.kind == "transient" else ValueError
    raise kind(f"the sources could not be asked: {message}")


def update_lock(root: Path, answers: Mapping[str, Any]) -> list[Change]:
    """Bring sources.lock.json to what the answers say; what changed. An unchanged file is not touched."""
    before = read_lock(root)
    sources = dict(followed(load_params(root / PARAMS_FILE).download))
    now: Lock = {key: entry_of(sources[key], answers[key]["sha256"]) for key in sources}
    if now != before:
        write_lock(now, root)
    hashes = {key: locked_hash(before, key, source) for key, source in sources.items()}
    return [
        Change(key, hashes[key], answers[key]["sha256"]) for key in sources if hashes[key] != answers[key]["sha256"]
    ]
