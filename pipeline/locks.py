"""File locks that say who holds them. The kernel lets go of a lock when its process dies, so none is ever stale."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock, Timeout

from pipeline import paths

POLL_S = 0.1
CLOCK_S = 2.0  # by how much the kernel's word on when a process began may be off


@contextmanager
def hold(
    name: str,
    *,
    timeout_s: float | None = None,
    waiting: Callable[[str], None] | None = None,
    place: Path | None = None,
) -> Iterator[None]:
    """Hold the lock NAME in HOME/locks (or in the folder `place`) for the length of a `with` block.

    timeout_s: seconds to wait; None waits for as long as the holder lives, 0 tries once. TimeoutError names the holder.
    waiting: called once, with the holder in words, when the lock is not free.
    """
    file = (place or paths.locks()) / f"{quote(name, safe='')}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if waiting is not None:
            waiting(holder(file))
        try:
            lock.acquire(timeout=-1 if timeout_s is None else timeout_s, poll_interval=POLL_S)
        except Timeout:
            raise TimeoutError(f"{name} is in use by {holder(file)}") from None
    try:
        _owner_file(file).write_text(json.dumps(this_process()))
        yield
    finally:
        _owner_file(file).unlink(missing_ok=True)
        file.unlink(missing_ok=True)  # while held: who waits on it finds it unlinked and starts over (filelock looks)
        lock.release()


@contextmanager
def hold_all(names: Iterable[str], waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold several locks, taken in one order everywhere, so that two who want the same never wait for each other."""
    with ExitStack() as held:
        for name in sorted(set(names)):
            held.enter_context(hold(name, waiting=waiting))
        yield


def holder(file: Path) -> str:
    """Who holds a lock file, in words."""
    owner = owner_of(file)
    return in_words(owner) if owner else "another process"


def in_words(owner: Mapping[str, Any]) -> str:
    since = time.strftime("%H:%M:%S", time.localtime(owner["since"]))
    return f"process {owner['pid']} on {owner['host']} since {since}"


def owner_of(file: Path) -> dict[str, Any]:
    """The process that wrote itself down as a lock file's holder; {} when none did."""
    try:
        owner = json.loads(_owner_file(file).read_text())
        return {"pid": int(owner["pid"]), "host": str(owner["host"]), "since": float(owner["since"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def this_process() -> dict[str, Any]:
    """What tells this process from all others: number, computer, and a moment in which it lived."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}


def is_gone(process: Mapping[str, Any]) -> bool:
    """Whether a process (of `this_process`) has surely ended: no such number here, or it is another's by now."""
    return bool(why_gone(process))


def why_gone(process: Mapping[str, Any]) -> str:
    """How one knows that a process (of `this_process`) has ended, in words; empty where it may still live."""
    import psutil

    if process["host"] != socket.gethostname():
        return ""
    try:
        found = psutil.Process(process["pid"])
        if found.create_time() > process["since"] + CLOCK_S:
            return "which is dead: its number is another process's by now"
        return "which is dead" if found.status() == psutil.STATUS_ZOMBIE else ""
    except psutil.NoSuchProcess:
        return "which is dead"
    except psutil.AccessDenied:
        return ""


def _owner_file(file: Path) -> Path:
    return file.with_suffix(".json")
