"""Where the raw files come from, and how they get here verified.

A file is looked for in the order target, cache, mirror, source. The cache is addressed by content (`cache/SHA256`), so
that a file that was verified once costs no network again, whatever its address was; it is hashed anew at each use. The
raw folder sees a file only when it is complete and verified, by a rename.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar
from urllib.parse import quote, unquote, urlsplit

from filelock import FileLock

from corpus.archive import check_member_name, extract_member
from corpus.transfer import PartialFile, Patience, Progress, download, scheme, shown

log = logging.getLogger(__name__)

OWN = Path("data/own")
AT_ONCE = 4  # sources: enough to fill a line, few enough for any server
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Source:
    """One file to fetch."""

    name: str
    """File name in the raw folder; a plain name, no path."""
    url: str
    """http(s):, file:, any address fsspec opens, or a path under data/own."""
    sha256: str | None
    """Of the file's bytes (of the member's, where there is one); None only for files under data/own."""
    member: str | None = None
    """Which member of the zip archive at `url` is the file; the member is what the hash pins, not the archive."""


@dataclass(frozen=True)
class Fetched:
    """What stands in the raw folder now, and where it came from ("cache" also where it stood there already)."""

    name: str
    bytes: int
    sha256: str
    origin: Literal["cache", "mirror", "source", "own"]


@dataclass(frozen=True)
class Place:
    """One place to try: an address, and the member where a zip archive lies there."""

    origin: Literal["mirror", "source"]
    address: str
    member: str | None


def fetch(
    source: Source,
    folder: Path,
    *,
    cache: Path,
    mirror: str | None,
    timeout_s: float,
    attempts: int,
    max_bytes: int,
    progress: Progress | None = None,
    own: Path = OWN,
    backoff_s: float = 0.5,
) -> Fetched:
    """Put `source` as `folder/name`, verified, and say where it came from.

    `mirror` is a folder or an address that holds the file under the last part of the URL's path, or, for a zip member,
    under the member's name; it is tried first, and what is wrong with it is a warning. `max_bytes` bounds the file and
    the archive around it. `progress(bytes so far, bytes in all or None)` is called during transfers.

    Raises ValueError for a wrong hash, wrong data or a wrong address, ConnectionError or TimeoutError where the network
    is to blame and trying later may help; the message lists every place that was tried. Leaves nothing half-written
    in `folder`; parts of a broken http transfer stay in `cache` and are continued next time.
    """
    _check(source, own)
    target = folder / source.name
    if target.is_dir():
        raise ValueError(f"{target} is a folder; a file is to be written there")
    if source.sha256 and target.is_file() and digest_of(target) == source.sha256:
        return Fetched(source.name, target.stat().st_size, source.sha256, "cache")
    patience = Patience(timeout_s, attempts, backoff_s)
    folder.mkdir(parents=True, exist_ok=True)
    for inner in ("partial", "locks"):
        (cache / inner).mkdir(parents=True, exist_ok=True)
    if scheme(source.url) == "":
        return _fetch_own(source, target, cache, patience, max_bytes, progress)
    assert source.sha256, "checked above"
    cached = cache / source.sha256
    with FileLock(cache / "locks" / source.sha256):  # experiments share the cache: one downloads, the others wait
        origin: Literal["cache", "mirror", "source"] = "cache"
        if not (cached.is_file() and digest_of(cached) == source.sha256):
            origin = _fill(cached, source, mirror, patience, max_bytes, progress)
        size = _put(cached, target)
    return Fetched(source.name, size, source.sha256, origin)


def side_by_side(work: Callable[[T], U], sources: Sequence[T]) -> Iterator[U]:
    """What `work` returns of each, in their order, done for up to AT_ONCE sources at a time.

    The first that raises ends it. What is still under way then is left behind: the threads are daemons, so that a
    server that keeps one waiting does not keep the process.
    """
    if sources:
        with ThreadPool(min(AT_ONCE, len(sources))) as threads:
            yield from threads.imap(work, sources)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(source: Source, own: Path) -> None:
    """ValueError unless every field is allowed."""
    if not is_plain_name(source.name):
        raise ValueError(f"source name {source.name!r} is not allowed: it must be a plain file name, not hidden")
    if source.member is not None:
        check_member_name(source.member)
    if source.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", source.sha256):
        raise ValueError(f"{source.name}: sha256 is {source.sha256!r}; it must be 64 lower-case hexadecimal digits")
    if scheme(source.url) == "":
        here = Path(source.url)
        if ".." in here.parts or own.absolute() not in here.absolute().parents:
            raise ValueError(f"{source.name}: {source.url!r} is neither an address (https://…) nor a path under {own}")
    elif source.sha256 is None:
        raise ValueError(f"{source.name}: {shown(source.url)} needs its sha256; only files under {own} may go without")


def is_plain_name(name: str) -> bool:
    """True for a file name that stays in its folder and is not hidden."""
    return bool(re.fullmatch(r"[^/\\\x00-\x1f\x7f]{1,200}", name)) and not name.startswith(".")


def _places(source: Source, mirror: str | None) -> list[Place]:
    places = [Place("source", source.url, source.member)]
    if mirror:
        name = _mirror_name(source)
        address = f"{mirror.rstrip('/')}/{quote(name)}" if scheme(mirror) else str(Path(mirror) / name)
        places.insert(0, Place("mirror", address, None))
    return places


def _mirror_name(source: Source) -> str:
    """Under which name a mirror holds the file: last part of the member's path, else of the URL's, else its own."""
    if source.member:
        return PurePosixPath(source.member).name
    first = source.url.partition("::")[0]  # fsspec chains (zip://inner.txt::https://…) name the inner file first
    path = urlsplit(first).path if scheme(first) in ("http", "https") else first
    name = PurePosixPath(unquote(path)).name
    return name if is_plain_name(name) else source.name


def _fill(
    cached: Path, source: Source, mirror: str | None, patience: Patience, max_bytes: int, progress: Progress | None
) -> Literal["mirror", "source"]:
    """Bring the file into the cache from the first place that has it."""
    failures: list[Exception] = []
    for place in _places(source, mirror):
        try:
            _obtain(cached, source, place, patience, max_bytes, progress)
            return place.origin
        except (ValueError, ConnectionError, TimeoutError) as error:
            failures.append(error)
            if place.origin == "mirror":
                log.warning("%s: the mirror can't serve it (%s), going to %s", source.name, error, shown(source.url))
    message = f"{source.name} could not be fetched: " + "; ".join(map(str, failures))
    passing = [error for error in failures if not isinstance(error, ValueError)]  # one that may pass is worth a retry
    kind = ValueError if not passing else TimeoutError if isinstance(passing[-1], TimeoutError) else ConnectionError
    raise kind(message) from failures[-1]


def _obtain(
    cached: Path, source: Source, place: Place, patience: Patience, max_bytes: int, progress: Progress | None
) -> None:
    """Download from one place, unpack, verify, and only then give the file its name in the cache."""
    part = PartialFile(cached.parent / "partial", f"{source.sha256} {place.address}")
    unpacked = part.path.with_suffix(".member")
    try:
        for last in (False, True):
            try:
                download(place.address, part, patience, max_bytes, progress)
                arrived = part.path
                if place.member:
                    extract_member(arrived, place.member, unpacked, max_bytes=max_bytes, source=shown(place.address))
                    arrived = unpacked
                _verify(digest_of(arrived), arrived.stat().st_size, source, shown(place.address))
                break
            except ValueError:
                continued = part.continued
                part.discard()
                if last or not continued:  # bytes kept from an earlier connection get one fresh start
                    raise
        arrived.replace(cached)
        part.discard()
    except OSError as error:
        if error.errno is not None:  # a full disk, say: give back what we took of it (network errors carry no number)
            part.discard()
        raise
    finally:
        unpacked.unlink(missing_ok=True)


def _verify(digest: str, size: int, source: Source, place: str) -> None:
    if source.sha256 and digest != source.sha256:
        what = f"{place} ({source.member})" if source.member and place == shown(source.url) else place
        raise ValueError(f"{what} has {size:,} bytes with sha256 {digest}, expected {source.sha256}")


def _put(verified: Path, target: Path) -> int:
    """Copy into the raw folder under a hidden name, then rename; returns the size in bytes."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.copyfile(verified, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target.stat().st_size


def _fetch_own(
    source: Source, target: Path, cache: Path, patience: Patience, max_bytes: int, progress: Progress | None
) -> Fetched:
    """A person's own file: copied, verified where a hash is given, and not kept in the cache."""
    part = PartialFile(cache / "partial", f"{os.getpid()} {target.absolute()}")
    unpacked = part.path.with_suffix(".member")
    try:
        download(source.url, part, patience, max_bytes, progress)
        arrived = part.path
        if source.member:
            extract_member(arrived, source.member, unpacked, max_bytes=max_bytes, source=source.url)
            arrived = unpacked
        digest = digest_of(arrived)
        _verify(digest, arrived.stat().st_size, source, source.url)
        return Fetched(source.name, _put(arrived, target), digest, "own")
    finally:
        part.discard()
        unpacked.unlink(missing_ok=True)
