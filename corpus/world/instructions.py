"""Instructions with their split: training, validation, and a test of which half combines words and kinds anew.

What is asked about belongs to one part only, and that is decided by itself: where a training entry asks about a text,
no other part asks anything about that text; a task about words never has the same words, in the same order, in two
parts. Combinations turn on a word that their kind never meets in training (`held_out.py`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

from corpus.world.choices import Choices
from corpus.world.held_out import Draw
from corpus.world.lexicon import NOUNS, VERBS
from corpus.world.tasks import TASKS

Entry = dict[str, Any]

PARTS = ("train", "validation", "test", "combination")
TRIES = 400  # draws for each entry before it is said that there are no more

_PLACES = (("train", 75), ("validation", 85), ("test", 100))  # of 100 units, up to where each part goes


def part_of(unit: tuple[str, ...]) -> str:
    """The part that a text, or a kind with its words, belongs to."""
    place = int.from_bytes(hashlib.blake2b("\0".join(unit).encode(), digest_size=8).digest(), "big") % 100
    return next(part for part, end in _PLACES if place < end)


def sizes(train: int) -> dict[str, int]:
    """How many entries each part has beside `train` ones in training: 6,000 make 400, 400 and 400."""
    few = max(1, train // 15)
    return {"train": train, "validation": few, "test": few, "combination": few}


def some_instructions(train: int, seed: int) -> list[Entry]:
    """`train` entries for training and the other parts' (see `sizes`), each part's kinds in turns.

    An entry has instruction, input, output, kind, split, combination (only in test: a word new to its kind) and about
    (the word it turns on, "" for none). Raises ValueError where a kind has no more tasks to ask.
    """
    if train < len(TASKS):
        raise ValueError(f"instructions is {train}; there must be at least {len(TASKS)}, one of each kind")
    asked: set[tuple[str, str]] = set()
    entries = []
    for part, size in sizes(train).items():
        for i in range(size):
            kind = list(TASKS)[i % len(TASKS)]
            entries.append(_entry(kind, part, i, seed, asked))
    return entries


def _entry(kind: str, part: str, i: int, seed: int, asked: set[tuple[str, str]]) -> Entry:
    """The first drawn task of a kind that belongs to the part and was not asked before."""
    split = "test" if part == "combination" else part
    for attempt in range(TRIES):
        draw = Draw(kind, Choices(seed, "instructions", part, i, attempt), part == "combination")
        task = TASKS[kind](draw)
        if part_of(task.unit) == split and (task.instruction, task.input) not in asked:
            asked.add((task.instruction, task.input))
            return {
                "instruction": task.instruction,
                "input": task.input,
                "output": task.output,
                "kind": kind,
                "split": split,
                "combination": draw.combination,
                "about": draw.about,
            }
    raise ValueError(f"there are too few tasks of the kind {kind!r}; ask for fewer instructions")


def overlaps(entries: Iterable[Entry]) -> dict[str, int]:
    """What of validation and test also stands in training; all three are 0 for a split that holds out what it says.

    pairs: the same instruction and input; texts: an input, or what it turns into, asked about in training;
    combinations: test entries marked so of which the word, in any form, occurs in a training entry of their kind.
    """
    rows = list(entries)
    train = [row for row in rows if row["split"] == "train"]
    others = [row for row in rows if row["split"] != "train"]
    pairs = {(row["instruction"], row["input"]) for row in train}
    texts = {row["input"] for row in train if _is_text(row["input"])}
    met: dict[str, set[str]] = {kind: set() for kind in TASKS}
    for row in train:
        met[row["kind"]].update(re.findall(r"\w+", " ".join((row["instruction"], row["input"], row["output"])).lower()))
    return {
        "pairs": sum((row["instruction"], row["input"]) in pairs for row in others),
        "texts": sum(row["input"] in texts for row in others),
        "combinations": sum(bool(forms(row["about"]) & met[row["kind"]]) for row in others if row["combination"]),
    }


def forms(word: str) -> set[str]:
    """A word with its plural, or its past and participle."""
    found = {word}
    found.update(noun.plural for noun in NOUNS if noun.word == word)
    found.update(form for verb in VERBS if verb.word == word for form in (verb.past, verb.participle))
    return found


def _is_text(given: str) -> bool:
    """Whether an input is a text, not a list of words (which other kinds may ask about, too)."""
    return bool(given) and not given.startswith("The word")
