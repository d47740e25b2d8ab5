"""Strict UTF-8: what can't be decoded, or couldn't be written back, is an error that names file, line and byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def decoded(path: Path) -> str:
    """A whole file, line ends untouched; ValueError where its bytes aren't UTF-8."""
    return _decode(path.read_bytes(), path, 0, 1)


def decoded_lines(path: Path) -> Iterator[str]:
    """A file's lines, each with its line end as it is (only '\\n' ends one); ValueError where bytes aren't UTF-8."""
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            yield _decode(line, path, offset, number)
            offset += len(line)


def is_encodable(text: str) -> bool:
    """False where JSON's \\u escapes smuggled in half of a surrogate pair, which no UTF-8 file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _decode(data: bytes, path: Path, offset: int, line: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        what = f"byte 0x{data[error.start]:02x} at offset {offset + error.start:,}"
        raise ValueError(f"{path}:{line}: {what} is not UTF-8; save the file as UTF-8") from None
