"""The version before, read from DVC's cache without DVC."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline import earlier
from pipeline.files import md5_path
from tests.tasks.tiny_repo import dvc, make_repo, python

MAKE = """
import pathlib, sys
place = pathlib.Path("models/toy")
(place / "deep").mkdir(parents=True)
(place / "weights").write_text("one")
(place / "deep" / "settings").write_text("two")
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose one stage made a folder."""
    stages = {"toy": {"cmd": python("make"), "deps": ["make.py"], "outs": ["models/toy"]}}
    root = make_repo(tmp_path_factory.mktemp("earlier") / "repo", stages, {}, {"make": MAKE})
    dvc(root, "repro")
    return root


@pytest.fixture
def repo(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its output is gone, as while the stage runs again."""
    root = tmp_path / "repo"
    shutil.copytree(template, root)
    shutil.rmtree(root / "models")
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path / "home"))
    return root


def test_it_is_what_it_was(repo: Path, tmp_path: Path) -> None:
    known = earlier.versions("models/toy", repo)
    assert set(known) == {"make.py", "models/toy"}
    place = earlier.bring(known["models/toy"], repo)
    assert place is not None and place.is_relative_to(tmp_path / "home")
    assert md5_path(place) == known["models/toy"]
    assert (place / "deep" / "settings").read_text() == "two"
    assert earlier.bring(known["models/toy"], repo) == place
    assert not (repo / "models").exists()


def test_where_the_home_has_no_room_it_comes_to_the_temporary_files(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("a file where the folder should be: nothing can be written")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    place = earlier.bring(earlier.versions("models/toy", repo)["models/toy"], repo)
    assert place is not None and place.is_relative_to(tmp_path / "temporary")


@pytest.mark.parametrize("damage", ["lost", "changed", "list lost", "list changed"])
def test_what_the_cache_has_not_whole_is_not_brought(repo: Path, damage: str) -> None:
    md5 = earlier.versions("models/toy", repo)["models/toy"]
    listed = earlier.cached_file(earlier.cache_folder(repo), md5)
    one = earlier.cached_file(earlier.cache_folder(repo), earlier.listing(earlier.cache_folder(repo), md5)[0]["md5"])
    file = listed if damage.startswith("list") else one
    file.chmod(0o644)
    if damage.endswith("lost"):
        file.unlink()
    else:
        file.write_text(file.read_text() + " ")
    assert earlier.bring(md5, repo) is None


@pytest.mark.parametrize("lock", [None, "", "stages:\n  toy:\n    cmd: x\n    outs:\n    - pa"])
def test_without_a_whole_lock_file_nothing_is_known(repo: Path, lock: str | None) -> None:
    (repo / "dvc.lock").unlink()
    if lock is not None:
        (repo / "dvc.lock").write_text(lock)
    assert earlier.versions("models/toy", repo) == {}
