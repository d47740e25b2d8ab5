"""Things to try on the page: held-out items of the last run's own data, which no training has seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from gpt.tokenizer_files import load_encoding
from gpt.tokens import open_tokens, read_index

SAMPLES = Path("data/samples")
READ = 400  # lines looked at: a file may be of any size
LONGEST = 160  # characters that still are a pleasant example


@dataclass(frozen=True)
class Task:
    """An instruction, the text it is about ("" for none), and its right answer."""

    instruction: str
    input: str
    output: str

    @property
    def short(self) -> str:
        return f"{self.instruction} | {self.input}" if self.input else self.instruction


def tasks(root: Path, n: int = 8) -> list[Task]:
    """Instructions of the test part, of as many kinds as there are."""
    found: dict[str, Task] = {}
    for row in held_out(root / SAMPLES / "instructions" / "test.jsonl"):
        task = Task(row["instruction"], row.get("input", ""), row["output"])
        if len(task.short) <= LONGEST:
            found.setdefault(row.get("kind", task.instruction), task)
    return list(found.values())[:n]


def messages(root: Path, n: int = 6) -> list[str]:
    """Messages of the test part, the labels in turns."""
    groups: dict[str, list[str]] = {}
    for row in held_out(root / SAMPLES / "messages" / "test.jsonl"):
        if len(row["text"]) <= LONGEST:
            groups.setdefault(row["label"], []).append(row["text"])
    in_turns = [group[turn] for turn in range(n) for group in groups.values() if turn < len(group)]
    return in_turns[:n]


def openings(root: Path, n: int = 6, words: int = 5) -> list[str]:
    """How documents of the validation part begin."""
    try:
        encoding = load_encoding(root / "data/tokenizer")
        ids, index = open_tokens(root / "data/tokens", "validation"), read_index(root / "data/tokens", "validation")
    except (OSError, ValueError):  # the page opens without them
        return []
    starts = [int(start) for start, length in index[:READ] if length > 4 * words]
    texts = [encoding.decode(ids[start : start + 4 * words].tolist()) for start in starts]
    return list(dict.fromkeys(" ".join(text.split()[:words]) for text in texts))[:n]


def held_out(path: Path) -> Iterator[dict[str, Any]]:
    """The first rows of a part; none when it is missing."""
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, islice(file, READ))
