"""One member out of a zip archive, by name, with a bound on its size.

The member is written to a path of the caller's, never to the one the archive names; names that try to leave the folder
are refused all the same, since an archive that carries them is not the one somebody pinned.
"""

from __future__ import annotations

import lzma
import stat
import zipfile
import zlib
from pathlib import Path

CHUNK = 1 << 18


def extract_member(archive: Path, member: str, destination: Path, *, max_bytes: int, source: str) -> None:
    """Write `member` of the zip file `archive` to `destination`; at most `max_bytes` bytes.

    `source` is how errors name the archive. Raises ValueError for anything that is wrong with archive or member.
    """
    check_member_name(member)
    try:
        with zipfile.ZipFile(archive) as opened:
            info = _find(opened, member, source)
            with opened.open(info) as read, destination.open("wb") as write:
                done = 0
                while chunk := read.read(CHUNK):
                    done += len(chunk)  # counted as it comes: the size in the archive's directory is only a claim
                    if done > max_bytes:
                        raise ValueError(f"{source}: member {member} unpacks to more than {max_bytes:,} bytes")
                    write.write(chunk)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, EOFError) as error:
        raise ValueError(f"{source}: member {member} can't be unpacked: {error or 'it ends too early'}") from error


def check_member_name(member: str) -> None:
    """ValueError unless `member` is a relative path without `..`, backslashes or empty parts."""
    parts = member.split("/")
    if not member or "\\" in member or "\0" in member or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"zip member {member!r} is not allowed: a relative path without '..' or backslashes is")


def _find(archive: zipfile.ZipFile, member: str, source: str) -> zipfile.ZipInfo:
    try:
        info = archive.getinfo(member)
    except KeyError:
        names = sorted(archive.namelist())
        more = ", …" if len(names) > 10 else ""
        raise ValueError(f"{source} has no member {member!r}; it holds {', '.join(names[:10])}{more}") from None
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.is_dir() or kind not in (0, stat.S_IFREG):
        raise ValueError(f"{source}: member {member} is not a regular file (symbolic links and folders are refused)")
    if info.flag_bits & 1:
        raise ValueError(f"{source}: member {member} is encrypted")
    return info
