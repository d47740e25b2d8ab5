"""Each test of tasks/ stands in a repository of its own, with a home of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tasks.tiny_repo import make_templates


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_templates(tmp_path_factory.mktemp("templates"))


@pytest.fixture
def fresh(templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository in which nothing has run."""
    return enter(templates / "fresh", tmp_path, monkeypatch)


@pytest.fixture
def done(templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository after `dvc repro`."""
    return enter(templates / "done", tmp_path, monkeypatch)


def enter(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    repo = tmp_path / "repo"
    shutil.copytree(template, repo)
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(repo)
    return repo


@pytest.fixture
def lines() -> tuple[list[str], Callable[[str], None]]:
    """A list, and the log function that fills it."""
    found: list[str] = []
    return found, found.append
