"""Followed sources, from the question to the raw file, through the processes that `make refresh` and DVC start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.schema import SourceFile
from stages.download import to_fetch
from tasks.ask import Change, Passing, ask_sources, update_lock
from tasks.reproduce import Setting
from tests.corpus.server import serving
from tests.tiny import CHANGES, make_workspace, run, write_own_data

TABLE = "messages/messages.tsv"


def test_without_a_verified_hash_the_stage_says_what_to_do() -> None:
    source = SourceFile(name="a.txt", url="https://example.org/a.txt", sha256=None, member=None)
    said = r"text/a.txt is followed \(sha256: null\), and sources.lock.json has no verified hash .* run make refresh"
    with pytest.raises(ValueError, match=said):
        to_fetch("text", source, {})


def test_asked_locked_and_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    write_own_data(tmp_path / "own")
    with serving() as web:
        web.body = (tmp_path / "own/messages.tsv").read_bytes()
        source: dict[str, Any] = {"name": "messages.tsv", "url": f"{web.url}/tagged", "sha256": None, "member": None}
        changes = {"download.messages": [source], "download.attempts": 1}
        folder = make_workspace(tmp_path / "workspace", {**CHANGES, **changes})
        monkeypatch.setenv("SCRIPTORIUM_HOME", str(folder / ".scriptorium"))
        setting = Setting(folder, folder / ".scriptorium" / "asking")
        refused = run(folder, "dvc", "repro", "download", check=False)
        assert "run make refresh first" in refused.stderr and "Traceback" not in refused.stderr

        answers = ask_sources(setting)
        hash_ = answers[TABLE]["sha256"]
        assert answers[TABLE]["how"] == "hash"
        assert update_lock(folder, answers) == [Change(TABLE, None, hash_)]
        assert ask_sources(setting)[TABLE]["how"] == "etag"
        before = (folder / "sources.lock.json").stat().st_mtime_ns
        assert update_lock(folder, answers) == [] and (folder / "sources.lock.json").stat().st_mtime_ns == before
        hits = web.count["/tagged"]
        run(folder, "dvc", "repro", "download")
        assert web.count["/tagged"] == hits, "what was asked lies in the cache"
        assert (folder / "data/raw/messages/messages.tsv").read_bytes() == web.body

        web.body, web.etag = web.body + b"ham\tmore\n", '"two"'  # the lock still names the old bytes, which are gone
        (folder / ".scriptorium/downloads" / hash_).unlink()
        moved = subprocess.run(
            [sys.executable, "-m", "stages.download"], cwd=folder, env=dict(os.environ), capture_output=True, text=True
        )
        assert moved.returncode == 1 and "make refresh takes what is there now" in moved.stderr
    with pytest.raises(Passing, match=r"could not be asked: .*refused"):  # the server is gone
        ask_sources(setting)
    assert json.loads((folder / "sources.lock.json").read_text())[TABLE]["sha256"] == hash_
