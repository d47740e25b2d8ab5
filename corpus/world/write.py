"""The world on disk: `stories.jsonl`, `messages.tsv` and `instructions.json`, byte-identical for the same arguments."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from corpus.world.instructions import some_instructions
from corpus.world.messages import some_messages
from corpus.world.stories import story_lines

STORIES, MESSAGES, INSTRUCTIONS = "stories.jsonl", "messages.tsv", "instructions.json"


def write_world(folder: Path, *, seed: int, text_bytes: int, messages: int, instructions: int) -> None:
    """Write the three files: about `text_bytes` bytes of stories, `messages` messages, and `instructions` entries for
    training with a fifth as many beside them for validation and test.

    Each file is written beside its final name and then renamed, so it is whole or not there; memory doesn't grow with
    `text_bytes`. Raises ValueError for sizes that are too small, and for more instructions than there are tasks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / STORIES, story_lines(text_bytes, seed))
    _write(folder / MESSAGES, (f"{label}\t{text}\n" for label, text in some_messages(messages, seed)))
    entries = some_instructions(instructions, seed)
    _write(folder / INSTRUCTIONS, [json.dumps(entries, indent=2, sort_keys=True, ensure_ascii=False), "\n"])


def _write(path: Path, lines: Iterable[str]) -> None:
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
