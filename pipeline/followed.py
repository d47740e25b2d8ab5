"""The lock file of followed sources: which bytes of an address that may change this workspace is trained on.

A source with `sha256: null` and an address is followed. `sources.lock.json`, beside params.yaml, holds the hash of what
was last verified there, and is an input of download: a commit says by itself which data made its models. It is for the
person to commit; `make refresh` writes it. Only hashes stand in it: what servers say besides (ETag, dates) may change
while the bytes do not, and must make nothing stale.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.files import write_json
from pipeline.schema import SOURCE_KINDS, Download, SourceFile

LOCK_FILE = "sources.lock.json"

Lock = dict[str, dict[str, str | None]]
"""{"text/news.txt": {"url", "member", "sha256"}}: an entry counts only as long as params.yaml names the same place."""


def followed(download: Download) -> Iterator[tuple[str, SourceFile]]:
    """The sources whose hash the lock file keeps, as (KIND/NAME, source)."""
    for kind in SOURCE_KINDS:
        for source in getattr(download, kind):
            if source.followed:
                yield f"{kind}/{source.name}", source


def read_lock(root: Path = Path()) -> Lock:
    """The lock file's entries; none where there is no file. ValueError when it is damaged."""
    file = root / LOCK_FILE
    try:
        lock = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not valid JSON: {error} (it may be replaced by {{}} and `make refresh`)") from None
    whole = isinstance(lock, dict) and all(
        isinstance(entry, dict) and re.fullmatch(r"[0-9a-f]{64}", str(entry.get("sha256"))) for entry in lock.values()
    )
    if not whole:
        raise ValueError(f"{file} must map KIND/NAME to url, member and sha256 (64 hexadecimal digits)")
    return lock


def write_lock(lock: Mapping[str, Mapping[str, str | None]], root: Path = Path()) -> None:
    write_json(root / LOCK_FILE, lock)


def entry_of(source: SourceFile, sha256: str) -> dict[str, str | None]:
    return {"url": source.url, "member": source.member, "sha256": sha256}


def locked_hash(lock: Lock, key: str, source: SourceFile) -> str | None:
    """The verified hash of a followed source; None where the lock has none, or one of another address."""
    entry = lock.get(key, {})
    return entry["sha256"] if (entry.get("url"), entry.get("member")) == (source.url, source.member) else None
