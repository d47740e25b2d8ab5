"""What a refresh may commit: the two lock files, and only where nothing else was edited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.ask import Change
from tests.tasks.tiny_repo import run

CHANGES = [Change("text/news.txt", None, "a" * 64)]


def test_only_lock_files_are_committed_and_only_alone(
    tmp_path: Path, at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.refresh import commit_locks

    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@localhost")
    root = tmp_path / "deep" / "workspace"
    root.mkdir(parents=True)
    run(tmp_path, "git", "init", "-q")
    (root / "params.yaml").write_text("seed: 1\n")
    run(root, "git", "add", "-A")
    run(root, "git", "commit", "-qm", "One")
    (root / "sources.lock.json").write_text(json.dumps({}))
    (root / "dvc.lock").write_text("stages: {}\n")
    (root / "untracked").touch()
    assert commit_locks(root, CHANGES) == "committed sources.lock.json and dvc.lock"
    shown = run(root, "git", "show", "--format=%s", "--name-only").stdout.split("\n")
    assert shown[0] == "Data changed: text/news.txt"
    assert [Path(name).name for name in shown if name][1:] == ["dvc.lock", "sources.lock.json"]
    assert commit_locks(root, []) == "nothing to commit"
    (root / "params.yaml").write_text("seed: 2\n")
    (root / "dvc.lock").write_text("stages: {a: 1}\n")
    assert commit_locks(root, CHANGES).startswith("not committed: params.yaml has edits")
    assert run(root, "git", "rev-list", "--count", "HEAD").stdout == "2\n"
