"""Tokens on disk: one flat file a part, memory-mapped, so that a corpus may be larger than memory.

    PART.bin          token ids, little-endian uint16 (vocabularies up to 65,536) or uint32; documents are joined by
                      `<|endoftext|>`: one between two documents, none at the end
    PART.nats.npy     float64 (n_documents,): each document's surprisal, where it is known of all of them
    PART.index.npy    int64 (n_documents, 2): where each document starts, and its length, without the separator
    tokens.json       the ids' type, counts, and for each source its documents [first, last) and tokens [first, last)

The same documents give the same bytes.
"""

from __future__ import annotations

import json
import math
from array import array
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

ABOUT = "tokens.json"


def token_type(vocab_size: int) -> np.dtype:
    """The smallest of uint16 and uint32 that holds every id."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


class TokenWriter:
    """Writes the parts of a corpus side by side, document by document; 24 bytes a document stay in memory.

    with TokenWriter(folder, ("train", "validation"), vocab_size, end_of_text) as writer:
        writer.add("train", source, ids)

    `tokens.json` is written last, when nothing failed. ValueError when a source comes back after another one: its
    documents must follow each other, so that it has one range.
    """

    def __init__(self, folder: Path, parts: tuple[str, ...], vocab_size: int, end_of_text: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.vocab_size = vocab_size
        self.end_of_text = end_of_text
        self.dtype = token_type(vocab_size)
        self.parts = {part: PartWriter((folder / f"{part}.bin").open("wb")) for part in parts}

    def add(self, part: str, source: str, ids: np.ndarray, nats: float | None = None) -> None:
        """Append one document; ids (n,) of any integer type; nats: its surprisal, where it is known."""
        writer = self.parts[part]
        if writer.starts:
            writer.write(np.array([self.end_of_text], dtype=self.dtype))
        writer.begin(source)
        writer.write(np.asarray(ids).astype(self.dtype))
        writer.end(source, len(ids), nats)

    def __enter__(self) -> TokenWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for writer in self.parts.values():
            writer.file.close()
        if kind is None:
            self.finish()

    def finish(self) -> None:
        about: dict[str, Any] = {
            "dtype": self.dtype.name,
            "end_of_text": self.end_of_text,
            "parts": {},
            "vocab_size": self.vocab_size,
        }
        for part, writer in self.parts.items():
            index = np.array([writer.starts, writer.lengths], dtype="<i8").T
            np.save(self.folder / f"{part}.index.npy", np.ascontiguousarray(index), allow_pickle=False)
            nats = np.array(writer.nats, dtype="<f8")
            known = bool(len(nats)) and not bool(np.isnan(nats).any())
            if known:
                np.save(self.folder / f"{part}.nats.npy", nats, allow_pickle=False)
            about["parts"][part] = {
                "documents": len(index),
                "nats": float(nats.sum()) if known else None,
                "sources": writer.sources,
                "tokens": writer.position,
            }
        text = json.dumps(about, indent=2, sort_keys=True, ensure_ascii=False)
        (self.folder / ABOUT).write_text(text + "\n", encoding="utf-8", newline="\n")


class PartWriter:
    """One part while it grows."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.position = 0
        self.starts = array("q")
        self.lengths = array("q")
        self.nats = array("d")
        self.sources: dict[str, dict[str, list[int]]] = {}

    def write(self, ids: np.ndarray) -> None:
        self.file.write(ids.tobytes())
        self.position += len(ids)

    def begin(self, source: str) -> None:
        if source not in self.sources:
            at = len(self.starts)
            self.sources[source] = {"documents": [at, at], "tokens": [self.position, self.position]}
        elif list(self.sources)[-1] != source:
            raise ValueError(f"source {source!r} comes back after {list(self.sources)[-1]!r}: keep its texts together")

    def end(self, source: str, length: int, nats: float | None) -> None:
        self.starts.append(self.position - length)
        self.lengths.append(length)
        self.nats.append(math.nan if nats is None else nats)
        self.sources[source]["documents"][1] = len(self.starts)
        self.sources[source]["tokens"][1] = self.position


def read_about(folder: Path) -> dict[str, Any]:
    """What `tokens.json` says; ValueError when it is missing or damaged."""
    path = folder / ABOUT
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if about["dtype"] not in ("uint16", "uint32") or not isinstance(about["parts"], dict):
            raise ValueError("its dtype must be uint16 or uint32, its parts an object")
        return about
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} doesn't describe token files: {error}") from None


def open_tokens(folder: Path, part: str) -> np.ndarray:
    """A part's ids (n,), memory-mapped read-only; ValueError when the file isn't as long as `tokens.json` says."""
    about = read_about(folder)
    path = folder / f"{part}.bin"
    if part not in about["parts"]:
        raise ValueError(f"{folder} has no part {part!r}: it has {', '.join(sorted(about['parts']))}")
    dtype = np.dtype(about["dtype"]).newbyteorder("<")
    expected = about["parts"][part]["tokens"] * dtype.itemsize
    actual = path.stat().st_size if path.is_file() else -1
    if actual != expected:
        found = "missing" if actual < 0 else f"{actual} bytes long"
        raise ValueError(f"{path} is {found}, but {ABOUT} counts {expected} bytes")
    return np.memmap(path, dtype=dtype, mode="r") if expected else np.empty(0, dtype)


def read_index(folder: Path, part: str) -> np.ndarray:
    """Where a part's documents start and how long they are, int64 (n_documents, 2)."""
    index: np.ndarray = np.load(folder / f"{part}.index.npy", mmap_mode="r", allow_pickle=False)
    return index


def entropy_floor(folder: Path, part: str) -> float | None:
    """Mean surprisal of a part's documents in nats per token, each document's end token counted; None: not known."""
    about = read_about(folder)["parts"][part]
    if about["nats"] is None:
        return None
    return float(about["nats"] / (int(read_index(folder, part)[:, 1].sum()) + about["documents"]))


def source_ranges(folder: Path, part: str) -> dict[str, tuple[int, int]]:
    """Each source's tokens [first, last) in a part, in file order."""
    sources = read_about(folder)["parts"][part]["sources"]
    ranges = {name: (int(entry["tokens"][0]), int(entry["tokens"][1])) for name, entry in sources.items()}
    return dict(sorted(ranges.items(), key=lambda item: item[1]))
