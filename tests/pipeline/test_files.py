"""Files appear whole, and digests are DVC's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.files import CACHED_FROM_BYTES, md5_file, md5_path, remove_tree, write_atomic, write_json
from tests.tasks.tiny_repo import dvc, make_repo, read_yaml


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_atomic_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.txt"
    write_atomic(target, "old")
    write_atomic(target, b"caf\xc3\xa9")
    assert target.read_text(encoding="utf-8") == "café"
    assert names(target.parent) == ["file.txt"]


def test_write_atomic_keeps_the_old_file_when_it_fails(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError):
        write_atomic(target, "a file can't replace a folder")
    assert target.is_dir() and names(tmp_path) == ["folder"]


def test_json_has_one_form_and_only_finite_numbers(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": "é", "a": 4e-4})
    assert (tmp_path / "a.json").read_bytes() == '{\n  "a": 0.0004,\n  "b": "é"\n}\n'.encode()
    with pytest.raises(ValueError, match=r"b\.json: only finite numbers"):
        write_json(tmp_path / "b.json", {"loss": float("nan")})
    assert not (tmp_path / "b.json").exists()


def test_remove_tree_spares_what_a_link_points_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "never there")
    assert names(tmp_path) == ["kept"]


def test_digests_are_those_of_dvc(tmp_path: Path) -> None:
    root = make_repo(tmp_path / "repo", {}, {}, {})
    (root / ".dvcignore").write_text("*.tmp\nskipped/\n")
    tree = root / "tree"
    # "a b" and "a/b" and "a-b" sort differently by part and by string; bytes, not lines, are digested
    for name in ("a/b", "a-b", "a b", "é/ü.txt", "x.tmp", "skipped/y", "deep/.git/z", "deep/empty"):
        file = tree / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"" if name.endswith("empty") else name.encode() + b"\r\n")
    (tree / "nothing in here").mkdir()
    (tree / "link").symlink_to("a-b")
    (tree / "folder link").symlink_to("a")
    (root / "single.bin").write_bytes(bytes(range(256)))
    dvc(root, "add", "tree", "single.bin")
    theirs = {name: read_yaml(root / f"{name}.dvc")["outs"][0]["md5"] for name in ("tree", "single.bin")}
    assert theirs == {name: md5_path(root / name, root=root) for name in theirs}
    assert md5_path(tree) != theirs["tree"]  # without the repository's ignore rules


def test_an_empty_folder_has_a_digest_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    assert md5_path(tmp_path) == "d751713988987e9331980363e24189ce.dir"
    with pytest.raises(FileNotFoundError):
        md5_path(tmp_path / "missing")


def test_the_cache_remembers_large_settled_files_and_notices_changes(tmp_path: Path) -> None:
    cache, large = tmp_path / "cache.sqlite", tmp_path / "large"
    large.write_bytes(bytes(CACHED_FROM_BYTES))
    first = md5_file(large, cache)
    assert md5_file(large, cache) == first == md5_file(large)
    large.write_bytes(b"\1" * CACHED_FROM_BYTES)
    os.utime(large, ns=(0, 0))  # an old time and the same size must not hide the change
    assert md5_file(large, cache) == md5_file(large) != first
    cache.write_bytes(b"not a database" * 100)
    assert md5_file(large, cache) == md5_file(large)
