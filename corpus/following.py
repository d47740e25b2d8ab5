"""Whether a followed source still has the bytes that were last verified, asked as cheaply as its server allows.

Over http one conditional request: by ETag, else by the date of the last change, which must agree with the size. Other
addresses are asked for what their file system says of the file (version, checksum, date, size). Only what differs, or
says nothing that would tell versions apart, is downloaded and hashed. New bytes go into the cache of `corpus.sources`,
where download finds them without a network. Mirrors are not asked: they hold copies, and may lag behind.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from filelock import FileLock

from corpus.archive import check_member_name, extract_member
from corpus.deadline import within
from corpus.sources import digest_of
from corpus.transfer import (
    PartialFile,
    Patience,
    Progress,
    check_status,
    download,
    fsspec_error,
    http_facts,
    local_path,
    open_http,
    patiently,
    scheme,
    shown,
    translated,
)

# what file systems call that which is another one when the bytes are; the first four say so by themselves
CHECKSUMS = ("ETag", "etag", "md5", "md5Hash", "checksum", "CRC", "crc32c", "content_md5")
DATES = ("mtime", "LastModified", "last_modified", "modified", "updated", "created")

Facts = dict[str, str]


@dataclass(frozen=True)
class Answer:
    """What stands at the address now. `how`: what told so (etag, date, checksum, hash); `bytes`: those downloaded."""

    sha256: str
    how: str
    bytes: int = 0


def ask(
    url: str, member: str | None, *, cache: Path, patience: Patience, max_bytes: int, progress: Progress | None = None
) -> Answer:
    """The SHA-256 of what `url` (of the zip archive there, `member`) holds now.

    Raises ValueError for a wrong address or wrong data, ConnectionError or TimeoutError where trying later may help.
    """
    if member is not None:
        check_member_name(member)
    key = hashlib.sha256(f"{url} {member or ''}".encode()).hexdigest()
    note = cache / "seen" / f"{key}.json"
    for folder in ("seen", "locks", "partial"):
        (cache / folder).mkdir(parents=True, exist_ok=True)
    # workspaces share the cache: one downloads, the others wait; so do the members of one archive
    with FileLock(cache / "locks" / hashlib.sha256(url.encode()).hexdigest()):
        seen = _read(note)
        http = scheme(url) in ("http", "https")
        now: Facts = {} if http else _file_facts(url, patience.timeout_s)
        how = _http_unchanged(url, seen, patience) if http else _same(seen, now)
        if how is not None:
            return Answer(seen["sha256"], how)
        part = PartialFile(cache / "partial", f"followed {url}")
        download(url, part, patience, max_bytes, progress)
        sha256, size = _keep(part, url, member, cache, max_bytes)
        _write(note, {"sha256": sha256, **(part.facts if http else now)})
        return Answer(sha256, "hash", size)


def _http_unchanged(url: str, seen: Facts, patience: Patience) -> str | None:
    """By what the server says that it has nothing new; None: it has, or can't tell."""
    headers = {"If-None-Match": seen.get("etag"), "If-Modified-Since": seen.get("modified")}
    asked = {name: value for name, value in headers.items() if value}
    if not asked:
        return None

    def attempt() -> str | None:
        with translated(url, patience.timeout_s), open_http(url, asked, patience.timeout_s) as response:
            if response.status_code == 304:
                return "etag" if "etag" in seen else "date"
            check_status(url, response, {200})
            return _same(seen, http_facts(response))  # some servers ignore conditions; the body is left unread

    return patiently(patience, attempt)


def _same(seen: Facts, now: Facts) -> str | None:
    """What tells that two descriptions are of the same bytes: a checksum, else a date together with the size."""
    if "etag" in seen or "etag" in now:
        return "etag" if seen.get("etag") == now.get("etag") else None
    dated = "modified" in seen and seen["modified"] == now.get("modified")
    return "date" if dated and seen.get("size") == now.get("size") else None


def _file_facts(url: str, timeout_s: float) -> Facts:
    """What the file system says of the file, in the words of `http_facts`. No fsspec call takes a time limit."""

    def look() -> dict[str, Any]:
        try:
            if scheme(url) == "file":
                facts = local_path(url).stat()
                return {"size": facts.st_size, "mtime": f"{facts.st_mtime_ns}-{facts.st_ctime_ns}-{facts.st_ino}"}
            system, path = fsspec.core.url_to_fs(url)
            return dict(system.info(path))
        except Exception as error:
            raise fsspec_error(url, error) from error

    return _told(within(timeout_s, look, f"{shown(url)} did not answer for {timeout_s:g} s"))


def _told(info: Mapping[str, Any]) -> Facts:
    facts: Facts = {}
    for fact, names in (("etag", CHECKSUMS), ("modified", DATES), ("size", ("size",))):
        said = [f"{name}={info[name]}" for name in names if info.get(name) is not None]
        facts |= {fact: " ".join(said)} if said else {}
    return facts


def _keep(part: PartialFile, url: str, member: str | None, cache: Path, max_bytes: int) -> tuple[str, int]:
    """Put what has arrived into the cache under its hash; (hash, bytes downloaded)."""
    unpacked = part.path.with_suffix(".member")
    try:
        arrived, size = part.path, part.path.stat().st_size
        if member is not None:
            extract_member(arrived, member, unpacked, max_bytes=max_bytes, source=shown(url))
            arrived = unpacked
        sha256 = digest_of(arrived)
        arrived.replace(cache / sha256)
        return sha256, size
    finally:
        part.discard()
        unpacked.unlink(missing_ok=True)


def _read(note: Path) -> Facts:
    """What was said when the bytes were last verified; nothing where that is not known (all of it, or nothing)."""
    try:
        seen = json.loads(note.read_text(encoding="utf-8"))
        return {str(name): str(value) for name, value in seen.items()} if len(seen["sha256"]) == 64 else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(note: Path, facts: Facts) -> None:
    beside = note.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(json.dumps(facts, sort_keys=True) + "\n", encoding="utf-8")
    beside.replace(note)
