"""One Prefect server for all tests of flows/: ours, started as a flow would start it, and stopped at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tasks.tiny_repo import make_templates


@pytest.fixture(autouse=True)
def same_environment_afterwards() -> Iterator[None]:
    """Importing flows.train sets what Prefect reads; other tests shall not see it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_templates(tmp_path_factory.mktemp("templates"))


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SCRIPTORIUM_HOME is the home that all tests of flows/ share; nothing is sent to MLflow."""
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(home))
    monkeypatch.setenv("SCRIPTORIUM_SYNC", "0")
    return home


@pytest.fixture(scope="session")
def server(home: Path) -> Iterator[str]:
    """The address of the one server."""
    from flows import services

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRIPTORIUM_HOME", str(home))
        patch.setenv("PREFECT_HOME", str(home / "prefect"))
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        patch.delenv("PREFECT_API_URL", raising=False)
        address = services.start(services.PREFECT)
    yield address
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRIPTORIUM_HOME", str(home))
        assert services.stop(services.PREFECT)


@pytest.fixture
def fresh(templates: Path, tmp_path: Path, at_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository in which nothing has run."""
    repo = tmp_path / "repo"
    shutil.copytree(templates / "fresh", repo)
    monkeypatch.chdir(repo)
    return repo


@pytest.fixture
def done(templates: Path, tmp_path: Path, at_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository after `dvc repro`."""
    repo = tmp_path / "repo"
    shutil.copytree(templates / "done", repo)
    monkeypatch.chdir(repo)
    return repo
