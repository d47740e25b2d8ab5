"""The world on disk: stories, messages and instructions, byte-identical for the same arguments, in flat memory."""

from __future__ import annotations

import json
from pathlib import Path

from corpus.world.instructions import some_instructions
from corpus.world.messages import some_messages
from corpus.world.stories import story_lines


def write_stories(path: Path, n_bytes: int, seed: int) -> None:
    """About `n_bytes` bytes of text (ValueError below 1), a document a line: {"nats", "text"}."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(story_lines(n_bytes, seed))


def write_messages(path: Path, count: int, seed: int) -> None:
    """`count` lines of label<TAB>text, half of them spam; ValueError below 1."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{label}\t{text}\n" for label, text in some_messages(count, seed))


def write_instructions(path: Path, n_train: int, seed: int) -> None:
    """`n_train` entries to learn from and a fifth as many to validate and test on, as a JSON list.

    ValueError for fewer than the kinds there are, and for more than there are tasks.
    """
    entries = some_instructions(n_train, seed)
    text = json.dumps(entries, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")
