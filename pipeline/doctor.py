"""What kills, full disks and time can leave behind in this project's own files, found and, where that is safe, cleared.

`flows/doctor.py` (make doctor) adds what needs the engines. Each check gives its findings: "ok", "cleared", "note"
(nothing to do), or "you" (a person has to do something). With clear=False nothing is changed.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pipeline import journal, ledger, paths, sync
from pipeline.files import remove_tree
from pipeline.locks import hold, in_words, is_gone, owner_of, this_process, why_gone

OK, CLEARED, NOTE, YOU = "ok", "cleared", "note", "you"
LEAST_FREE_BYTES = 1_000_000_000
OLD_S = 3600.0
TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)-\d+\.tmp")  # pipeline.files.write_atomic


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's: what was looked at, how it is (OK, CLEARED, NOTE, YOU), in words."""

    check: str
    state: str
    text: str


def disk() -> Iterator[Finding]:
    """Room where the workspace, the home and temporary files lie."""
    places = {"workspace": Path.cwd(), "home": paths.home(), "temporary files": Path(tempfile.gettempdir())}
    for name, place in places.items():
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        said = f"{free / 1e9:,.1f} GB free for the {name} ({place})"
        if free < LEAST_FREE_BYTES:
            yield Finding("disk", YOU, f"{said}: make room (`make gc` frees what nothing uses)")
        else:
            yield Finding("disk", OK, said)


def versions(root: Path) -> Iterator[Finding]:
    """Python and the packages that requirements.lock pins."""
    yield Finding("python", OK, ".".join(map(str, sys.version_info[:3])))  # an older one could not even read this file
    wanted = re.findall(r"(?m)^([A-Za-z0-9_.-]+)==([^\s;#]+)", (root / "requirements.lock").read_text(encoding="utf-8"))
    other = [found for name, version in wanted if (found := _other_version(name, version))]
    if other:
        more = f" and {len(other) - 5} more" if len(other) > 5 else ""
        text = f"{', '.join(other[:5])}{more}: `rm .venv/.ready; make run` installs what requirements.lock names"
        yield Finding("packages", YOU, text)
    else:
        yield Finding("packages", OK, f"all {len(wanted)} of requirements.lock")


def _other_version(name: str, version: str) -> str:
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} {version} is missing"
    same = found.partition("+")[0] == version.partition("+")[0]  # torch's builds: 2.13.0+cpu
    return "" if same else f"{name} is {found}, not {version}"


def locks(clear: bool) -> Iterator[Finding]:
    """Our locks: the kernel frees them with their process, what stays is a file and a name."""
    found = False
    for file in [*sorted(paths.locks().glob("*.lock")), *sorted(paths.staging("x").parent.glob("*.lock"))]:
        if (finding := _lock(file, clear)) is not None:
            found = True
            yield finding
    if not found:
        yield Finding("locks", OK, "none was left behind")


def _lock(file: Path, clear: bool) -> Finding | None:
    """What is to be said of one lock file; nothing of one that nobody has put his name to."""
    name, owner = unquote(file.stem), owner_of(file)
    gone = why_gone(owner) if owner else ""
    try:
        with hold(name, timeout_s=0, place=file.parent) if clear else _free(file):
            pass
    except TimeoutError:
        if not gone:
            return Finding("locks", NOTE, f"{name} is held by {in_words(owner) if owner else 'a process'}, at work")
        text = f"{name}: {in_words(owner)} is gone, but a process that it started still holds it: {_openers(file)}"
        return Finding("locks", YOU, text)
    if not owner:
        return None
    why = gone or "which has let go of it"
    return Finding("locks", CLEARED if clear else NOTE, f"{name} was left by {in_words(owner)}, {why}")


def _free(file: Path) -> Any:
    """TimeoutError when the lock is held; changes nothing."""
    import fcntl

    with file.open("rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise TimeoutError from None
    return nullcontext()


def _openers(file: Path) -> str:
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "open_files", "name"]):
        if any(each.path == str(file.resolve()) for each in process.info["open_files"] or ()):
            found.append(f"{process.info['pid']} ({process.info['name']})")
    return f"end process {' and '.join(found)}" if found else "find it with `fuser`, and end it"


def half_written(root: Path, clear: bool) -> Iterator[Finding]:
    """Files and folders under temporary names whose writer is gone."""
    found = [path for path in _temporary(root) if _abandoned(path)]
    for path in found:
        if clear:
            remove_tree(path)
        shown = path.relative_to(root) if path.is_relative_to(root) else path
        yield Finding("half-written", CLEARED if clear else NOTE, f"{shown}: what wrote it was killed")
    if not found:
        yield Finding("half-written", OK, "nothing")


def _temporary(root: Path) -> Iterator[Path]:
    for folder in (root, root / "models", root / "reports", root / "data", paths.home()):
        deep = folder.glob("*") if folder == root else folder.rglob("*.tmp")
        yield from (path for path in deep if TEMPORARY.fullmatch(path.name))
    for pattern in ("checkpoints/*/*/*/*/*.partial", "parked/*/*.tmp", "earlier/*.tmp"):
        yield from paths.home().glob(pattern)
    yield from paths.kept("x").parent.glob("*.tmp")
    yield from (path for path in paths.staging("x").parent.glob("*") if path.is_dir())


def _abandoned(path: Path) -> bool:
    """Whether nobody is writing it: its process is gone, its stage's lock is free, or it is an hour old."""
    if named := TEMPORARY.fullmatch(path.name):
        written = {**this_process(), "pid": int(named["pid"]), "since": path.lstat().st_mtime}
        return is_gone(written)
    lock, place = "", None
    if path.suffix == ".partial":
        fingerprint = path.parents[2]
        lock = f"{fingerprint.parent.name}-{fingerprint.name}"
    elif path.parent == paths.staging("x").parent or path.parent == paths.kept("x").parent:
        lock, place = f"stage-{path.name.split('.')[0]}", paths.staging("x").parent
    elif path.parents[1].name == "parked":
        lock = f"{path.parent.name}-{path.name.removesuffix('.tmp')}"
    else:
        return time.time() - path.lstat().st_mtime > OLD_S
    file = (place or paths.locks()) / f"{lock}.lock"
    try:
        with _free(file) if file.exists() else nullcontext():
            return True
    except TimeoutError:
        return False


def databases(clear: bool) -> Iterator[Finding]:
    """The SQLite files: SQLite's own integrity check."""
    there = (paths.mlflow_db(), paths.home() / "prefect" / "prefect.db", paths.home() / "digests.db")
    if not any(file.exists() for file in there):
        yield Finding("databases", OK, "there is none yet")
    for file in (file for file in there if file.exists()):
        problem = _problem(file)
        if not problem:
            yield Finding("databases", OK, f"{file.name} is whole")
        elif file.name == "digests.db":  # a memory of digests: it is made again
            if clear:
                file.unlink()
            yield Finding(
                "databases", CLEARED if clear else NOTE, f"{file.name} was damaged ({problem}); it is made again"
            )
        else:
            aside = f"mv {file} {file}.damaged"
            rest = "what is not sent yet goes into a new one" if file == paths.mlflow_db() else "a new one is made"
            yield Finding("databases", YOU, f"{file.name} is damaged ({problem}): put it aside ({aside}); {rest}")


def _problem(file: Path) -> str:
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as connection:
            (said,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        return "" if "locked" in str(error) else str(error)
    return "" if said == "ok" else str(said)


def journals(clear: bool) -> Iterator[Finding]:
    """What MLflow has not been told yet, and whether it can be read."""
    keys = journal.known()
    ended = sync.mark_killed(keys, followed=False) if clear else []
    if ended:
        yield Finding("journals", CLEARED, f"{len(ended)} runs whose process had died are marked KILLED")
    torn = 0
    for key in keys:
        bad, first = _unreadable(key)
        torn += bad
        if first not in (None, "start"):
            place = paths.journal() / key
            text = f"{key} does not begin with its start: it can't be sent; put it aside (mv {place} {place}.damaged)"
            yield Finding("journals", YOU, text)
    unsent = len(journal.unsent())
    said = f"{len(keys)} journals" + (f", {unsent} not sent yet (`make sync`, or the next run)" if unsent else "")
    yield Finding("journals", NOTE if unsent or torn else OK, said + (f", {torn} torn lines left out" if torn else ""))
    lines = len(ledger.entries())
    yield Finding("ledger", OK, f"{lines} results remembered")


def _unreadable(key: str) -> tuple[int, str | None]:
    """How many whole lines of a journal are no events, and the type of its first event."""
    events = list(journal.events(key))
    data = (paths.journal() / key / "events.jsonl").read_bytes()
    bad = sum(not _is_event(line) for line in data.split(b"\n")[:-1])
    return bad, str(events[0][0].get("type")) if events else None


def _is_event(line: bytes) -> bool:
    try:
        return not line or isinstance(json.loads(line), Mapping)
    except ValueError:
        return False
