"""Documents: reading, cleaning, exact-duplicate removal and splitting (chapters 1 and 2), one document at a time.

Everything streams: what is held is one document, and a digest of each one already seen.
"""

from __future__ import annotations

import hashlib
import json
import re
import reprlib
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from corpus.digests import SIZE, Digests
from corpus.parts import Fractions, Part, check_fractions, part_sizes, uniform
from corpus.utf8 import decoded, decoded_lines, is_encodable

SUFFIXES = (".txt", ".jsonl")

# C0 and C1 controls but tab and line ends, and the byte order mark that some editors put first
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff]")


@dataclass(frozen=True)
class Document:
    """One text, its file, and a name of its own (`tales.txt`, or `tales.txt#3` where a file holds many)."""

    source: str
    name: str
    text: str
    nats: float | None = None
    """-ln of the text's probability under what generated it, where that is known: "nats" in a `.jsonl` file."""


def read_documents(folder: Path, separator: str | None) -> Iterator[Document]:
    """The documents of a folder's files, in sorted order of paths; hidden files are passed over.

    A `.txt` file is one document, or several where a line that equals `separator` stands between them; a `.jsonl` file
    has an object with a "text" a line, and "nats" where its surprisal is known. Line ends are left as they are. Texts
    of nothing but white space are left out.

    Raises ValueError for another kind of file, bytes that aren't UTF-8 (with line and offset) and malformed JSON lines.
    """
    for path in sorted(folder.rglob("*"), key=lambda p: p.relative_to(folder).parts):
        source = path.relative_to(folder).as_posix()
        if path.is_dir() or any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.suffix not in SUFFIXES:
            raise ValueError(f"{path} is no corpus file: {' and '.join(SUFFIXES)} files are read")
        many = path.suffix == ".jsonl" or separator is not None
        texts = _json_lines(path) if path.suffix == ".jsonl" else ((piece, None) for piece in _pieces(path, separator))
        for number, (text, nats) in enumerate((pair for pair in texts if pair[0].strip()), start=1):
            yield Document(source, f"{source}#{number}" if many else source, text, nats)


def clean(text: str, *, normalization: str, newlines: str, strip_control: bool) -> str:
    """The text with Unicode `normalization` ("none", "NFC", "NFKC"), line ends ("keep", or "lf" for '\\n' everywhere),
    and, if asked for, without control characters (tabs and line ends stay) and byte order marks."""
    if newlines == "lf":
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    elif newlines != "keep":
        raise ValueError(f"newlines is {newlines!r}; it must be 'keep' or 'lf'")
    if strip_control:
        text = _CONTROL.sub("", text)
    if normalization == "NFC":
        return unicodedata.normalize("NFC", text)
    if normalization == "NFKC":
        return unicodedata.normalize("NFKC", text)
    if normalization != "none":
        raise ValueError(f"normalization is {normalization!r}; it must be 'none', 'NFC' or 'NFKC'")
    return text


def drop_duplicates(documents: Iterable[Document], counts: Counter[str] | None = None) -> Iterator[Document]:
    """The documents without exact copies of an earlier text; `counts["duplicates"]` grows by one for each left out."""
    seen = Digests()
    for document in documents:
        if seen.add(hashlib.blake2b(document.text.encode(), digest_size=SIZE).digest()):
            yield document
        elif counts is not None:
            counts["duplicates"] += 1


def split_by_document(document: Document, fractions: tuple[float, float], seed: int) -> Part:
    """The part a document belongs to, `fractions` being (train, validation).

    Decided by its text and the seed alone: neither order nor other documents matter, and a corpus may grow without any
    document changing sides. Sizes follow the fractions only on average, so a tiny corpus may leave a part empty.
    """
    train, validation = check_fractions(*fractions)
    place = uniform(document.text, seed, "documents")
    if place < train:
        return "train"
    return "validation" if place < train + validation or Fractions(train, validation).test == 0 else "test"


def split_by_character(text: str, fractions: tuple[float, float]) -> dict[Part, str]:
    """The book's split: the first `train` share of the characters, then validation, then test.

    A part without a share is left out: (0.9, 0.1) leaves no test part.
    """
    shares = check_fractions(*fractions)
    parts: dict[Part, str] = {}
    start = 0
    for part, size in part_sizes(len(text), shares).items():
        if getattr(shares, part) > 0:
            parts[part] = text[start : start + size]
            start += size
    return parts


def _pieces(path: Path, separator: str | None) -> Iterator[str]:
    if separator is None:
        yield decoded(path)
        return
    piece: list[str] = []
    for line in decoded_lines(path):
        if line.rstrip("\r\n") == separator:
            yield "".join(piece)
            piece = []
        else:
            piece.append(line)
    yield "".join(piece)


def _json_lines(path: Path) -> Iterator[tuple[str, float | None]]:
    for number, line in enumerate(decoded_lines(path), start=1):
        line = line.removeprefix("\ufeff") if number == 1 else line  # the byte order mark that some editors put first
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}:{number}: not JSON ({error})") from None
        text = entry.get("text") if isinstance(entry, dict) else None
        if not isinstance(text, str):
            raise ValueError(f'{path}:{number}: each line must be an object with a string "text"')
        if not is_encodable(text):
            raise ValueError(f'{path}:{number}: "text" has half of a surrogate pair (\\ud800 … \\udfff), no character')
        nats = entry.get("nats")
        if nats is not None and not (type(nats) in (int, float) and 0 <= nats <= sys.float_info.max):
            raise ValueError(f'{path}:{number}: "nats" is {reprlib.repr(nats)}; it must be a number from 0 on')
        yield text, None if nats is None else float(nats)
