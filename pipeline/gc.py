"""Frees what unfinished work left behind: `python -m pipeline.gc --days 7`, the second half of `make gc`.

A result in place prunes its own checkpoints. Those of inputs that were never finished, results parked for an edit that
was never undone, and journals of failed runs stay until here: nothing is removed that was touched within the days
given, that a run holds right now, or that a tracking server has not been told yet.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline import journal, paths
from pipeline.files import remove_tree
from pipeline.locks import hold

DAYS = 7.0


def collect(days: float) -> list[str]:
    """Remove what was not touched for `days` days; one line for each folder removed."""
    before = time.time() - days * 86400
    done = []
    for lock, folder in _abandoned():
        try:
            with hold(lock, timeout_s=0):
                if _touched(folder) <= before:
                    size = _freed_bytes(folder)
                    remove_tree(folder)
                    done.append(f"{folder.relative_to(paths.home())} ({size / 1e6:,.1f} MB)")
        except (TimeoutError, FileNotFoundError):  # at work, or removed by its owner just now
            continue
    return done


def _abandoned() -> Iterator[tuple[str, Path]]:
    """Each folder that may go, with the lock that its user would hold."""
    for kind in ("checkpoints", "parked"):
        for folder in sorted((paths.home() / kind).glob("*/*")):
            yield f"{folder.parent.name}-{folder.name.removesuffix('.tmp')}", folder
    for folder in sorted(paths.journal().glob("*/")):
        if _told(folder.name):
            yield f"journal-{folder.name}", folder


def _told(key: str) -> bool:
    """Whether a journal's run has ended and a tracking server knows all of it."""
    return journal.last(key).get("type") == "end" and not any(journal.events(key, journal.sent(key).offset))


def _touched(folder: Path) -> float:
    """When anything in the folder last changed (seconds since 1970)."""
    return max(path.lstat().st_mtime for path in [folder, *folder.rglob("*")])


def _freed_bytes(folder: Path) -> int:
    """What removing the folder gives back; a file with a second name stays."""
    facts = [path.lstat() for path in folder.rglob("*") if not path.is_dir()]
    return sum(fact.st_size for fact in facts if fact.st_nlink == 1)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.gc", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--days", type=float, default=DAYS, help="what was touched within so many days stays")
    options = parser.parse_args(arguments)
    if not options.days >= 0:
        parser.error(f"--days is {options.days:g}: allowed are 0 and more")
    done = collect(options.days)
    print("\n".join(f"removed {line}" for line in done) or f"nothing was left untouched for {options.days:g} days")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
