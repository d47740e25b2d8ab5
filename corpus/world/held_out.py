"""What is held out from training on instructions: for each kind of task, a fifth of the words.

Other kinds of tasks hold out other words, so every word and every kind is met in training, and some pairs of them are
not. A test item that turns on such a word is a combination new to the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from corpus.world.choices import Choices, Table
from corpus.world.lexicon import ADJECTIVES, DEEDS, DOINGS, NOUNS, Adjective, Noun, Verb
from corpus.world.people import PLACES, Place

KINDS = (
    "plural", "past tense", "opposite", "category", "sorting", "counting", "first word", "last word", "passive",
    "facts", "yes or no", "arithmetic", "completion",
)  # fmt: skip
SHARE = 5  # every fifth word is held out from a kind, and a word from every fifth kind

Word = Noun | Verb | Adjective | Place


@cache
def reserved(kind: str) -> frozenset[str]:
    """The words that this kind never meets in training; a word and its opposite go together."""
    kept: set[str] = set()
    groups: tuple[Sequence[Word], ...] = (NOUNS, DEEDS, DOINGS, ADJECTIVES, PLACES)
    for group in groups:
        units = sorted({_unit(word) for word in group}, key=_place)
        kept.update(word for unit in units[KINDS.index(kind) % SHARE :: SHARE] for word in unit)
    return frozenset(kept)


class Draw:
    """The choices for one entry of a kind. `about` is the word it turns on, `combination` whether that one is new."""

    def __init__(self, kind: str, choices: Choices, combination: bool) -> None:
        self.kind, self.choices, self.combination = kind, choices, combination
        self.about = ""

    def of(self, *items: Any) -> Any:
        """One of the items, all equally likely."""
        return self.choices.pick(_uniform(items))

    def word(self, words: Sequence[Any], but: Collection[Any] = ()) -> Any:
        """A word that this kind meets in training."""
        return self.choices.pick(_part(self.kind, tuple(words), False), but)

    def key(self, words: Sequence[Any]) -> Any:
        """The word that the entry turns on."""
        word = self.choices.pick(_part(self.kind, tuple(words), self.combination))
        self.about = word.word
        return word

    def words(self, words: Sequence[Any], n: int, key_at: int | None = None) -> list[Any]:
        """n distinct words, the key among them: at the place `key_at`, or anywhere."""
        found = [self.key(words)]
        while len(found) < n:
            found.append(self.word(words, found))
        place = self.choices.below(n) if key_at is None else key_at % n
        found[0], found[place] = found[place], found[0]
        return found


@cache
def _uniform(items: tuple[Any, ...]) -> Table[Any]:
    return Table(items)


@cache
def _part(kind: str, words: tuple[Any, ...], new: bool) -> Table[Any]:
    return Table([word for word in words if (word.word in reserved(kind)) == new])


def _unit(word: Word) -> tuple[str, ...]:
    return tuple(sorted((word.word, word.opposite))) if isinstance(word, Adjective) else (word.word,)


def _place(unit: tuple[str, ...]) -> bytes:
    return hashlib.blake2b("\0".join(unit).encode(), digest_size=16).digest()
