"""The repository that most tests of the seam use: two roots, two siblings, one stage that joins them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tasks.tiny_repo import dvc, make_repo, python

WORK = """
import sys
from pathlib import Path
from ruamel.yaml import YAML
out, *sources = sys.argv[1:]
name = Path(out).stem
number = YAML(typ="safe").load(Path("params.yaml").read_text())[name]["number"]
print(f"{name} says {number}")
if number < 0:
    print("about to fail")
    sys.exit(f"{name}: number is {number}, allowed are 0 and more")
Path(out).write_text("+".join([str(number), *(Path(source).read_text() for source in sources)]))
"""


def stage(name: str, *sources: str) -> dict[str, object]:
    return {
        "cmd": python("work", f"{name}.txt", *sources),
        "deps": ["work.py", *sources],
        "params": [name],
        "outs": [f"{name}.txt"],
    }


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two repositories, made once and copied for each test: `fresh`, where nothing ran, and `done`."""
    folder = tmp_path_factory.mktemp("templates")
    stages = {
        "root": stage("root"),
        "left": stage("left", "root.txt"),
        "right": stage("right", "root.txt"),
        "join": stage("join", "left.txt", "right.txt"),
    }
    params = {name: {"number": 1} for name in stages}
    make_repo(folder / "fresh", stages, params, {"work": WORK})
    shutil.copytree(folder / "fresh", folder / "done")
    dvc(folder / "done", "repro")
    return folder


@pytest.fixture
def fresh(templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """root → left, right → join, none of which has run. The test stands in the repository."""
    return enter(templates / "fresh", tmp_path, monkeypatch)


@pytest.fixture
def done(templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same after `dvc repro`."""
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
