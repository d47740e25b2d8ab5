"""Files that appear whole or not at all, and their digests in the form DVC writes into dvc.lock.

A file's digest is its md5; a directory's is the md5 of a JSON list of its files, with ".dir" behind it. Computing them
ourselves takes no DVC import (0.3 s a process) and no repository lock; a test holds them against real DVC.
md5 serves only as DVC's name for bytes, never as a proof of anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

ALWAYS_IGNORED = (".hg/", ".git/", ".git", ".dvc/")
CACHED_FROM_BYTES = 1 << 20  # a smaller file is hashed faster than it is looked up
LINK_FROM_BYTES = 1 << 20
SETTLED_S = 2.0  # a file written this recently could change again within one tick of the file system's clock


def write_atomic(path: Path | str, content: bytes | str) -> None:
    """Write a file so that readers, and a power cut, see the old content or the new, never a part. Text is UTF-8."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON in the project's one form: sorted, indented, newline at the end. ValueError for NaN and infinity."""
    try:
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{path}: only finite numbers can be written as JSON ({error})") from None
    write_atomic(path, text + "\n")


def remove_tree(path: Path | str) -> None:
    """Remove a file, link or folder; nothing to remove is fine."""
    path = Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def link_or_copy(source: str, place: str) -> None:
    """A link costs nothing for a model's weights; small files may be edited in place, so they are copied."""
    if Path(source).stat().st_size >= LINK_FROM_BYTES:
        try:
            return os.link(source, place)
        except OSError:  # another file system
            pass
    shutil.copy(source, place)


def md5_file(path: Path | str, cache: Path | None = None) -> str:
    """The md5 of a file's bytes. `cache` (an SQLite file) remembers those of large files that did not change since."""
    path = Path(path)
    facts = path.stat()
    worth_it = cache is not None and facts.st_size >= CACHED_FROM_BYTES
    state = f"{facts.st_size}:{facts.st_mtime_ns}:{facts.st_ctime_ns}:{facts.st_ino}"
    if worth_it and (known := _recall(cache, path, state)):
        return known
    with path.open("rb") as file:
        value = hashlib.file_digest(file, _md5).hexdigest()
    if worth_it and time.time() - max(facts.st_mtime, facts.st_ctime) > SETTLED_S:
        _remember(cache, path, state, value)
    return value


def md5_bytes(data: bytes) -> str:
    """The md5 that DVC would give a file of these bytes."""
    return str(_md5(data).hexdigest())


def md5_path(path: Path | str, *, root: Path | str | None = None, cache: Path | None = None) -> str:
    """The md5 that dvc.lock holds for a file or folder. FileNotFoundError when there is none.

    `root` is the repository's folder: files that its .dvcignore names don't count.
    """
    path = Path(path)
    if not path.is_dir():
        return md5_file(path, cache)
    ignored = _ignore_rules(Path(root)) if root is not None else _nothing_ignored
    entries = []
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not ignored(Path(folder, name), True)]
        for name in files:
            file = Path(folder, name)
            if not ignored(file, False):
                entries.append({"md5": md5_file(file, cache), "relpath": file.relative_to(path).as_posix()})
    listing = json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True)
    return _md5(listing.encode()).hexdigest() + ".dir"


def _md5(data: bytes = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)


def _nothing_ignored(path: Path, is_folder: bool) -> bool:
    return False


def _ignore_rules(root: Path) -> Callable[[Path, bool], bool]:
    """Whether DVC would overlook a path: its built-in patterns and those of the .dvcignore beside dvc.yaml."""
    from pathspec import GitIgnoreSpec  # DVC's own library for this

    listed = root / ".dvcignore"
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    spec = GitIgnoreSpec.from_lines([*ALWAYS_IGNORED, *lines])
    top = root.absolute()

    def ignored(path: Path, is_folder: bool) -> bool:
        relative = os.path.relpath(path.absolute(), top).replace(os.sep, "/")
        return not relative.startswith("../") and spec.match_file(relative + "/" if is_folder else relative)

    return ignored


def _open(cache: Path) -> sqlite3.Connection:
    cache.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(cache, timeout=1.0)
    connection.execute("CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, state TEXT, md5 TEXT)")
    return connection


def _recall(cache: Path | None, path: Path, state: str) -> str | None:
    assert cache is not None
    try:
        with closing(_open(cache)) as connection:
            query = "SELECT md5 FROM digests WHERE path = ? AND state = ?"
            row = connection.execute(query, (str(path.absolute()), state)).fetchone()
    except sqlite3.Error:  # a cache that is busy or broken only costs time
        return None
    return row[0] if row else None


def _remember(cache: Path | None, path: Path, state: str, value: str) -> None:
    assert cache is not None
    try:
        with closing(_open(cache)) as connection, connection:
            connection.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (str(path.absolute()), state, value))
    except sqlite3.Error:
        return
