"""The stories: documents of four kinds, each with the exact surprisal of its text.

What is computed exactly: `nats` is -ln P(text) under this grammar, the sum over all choices that made the document
(`choices.py`), since no text comes about in two ways (`derivations.py`). Its mean over documents, divided by their mean
number of tokens (with one end-of-text token each), is the least validation loss that any model can be expected to reach
when it reads every document from its beginning; a model that sees less context can't reach it, and one that is
not trained on endless text won't.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from corpus.world.choices import Choices, Table
from corpus.world.lessons import lesson
from corpus.world.letters import letter
from corpus.world.page import Page
from corpus.world.scenes import scene
from corpus.world.tales import tale

KINDS: Table[Callable[[Page], None]] = Table([tale, lesson, scene, letter], [4, 4, 2, 1])


@dataclass(frozen=True)
class Story:
    """A document and its surprisal in nats, rounded to 10^-6."""

    text: str
    nats: float


def tell(page: Page) -> None:
    """Write a document of any kind. Which one it is costs, too: every kind begins in words of its own."""
    page.choices.pick(KINDS)(page)


def story(seed: int, i: int) -> Story:
    """Document i of a world: a pure function of (seed, i)."""
    page = Page(Choices(seed, "stories", i))
    tell(page)
    return Story(page.text, round(page.choices.nats, 6))


def stories(seed: int) -> Iterator[Story]:
    """Documents without end."""
    i = 0
    while True:
        yield story(seed, i)
        i += 1


def story_lines(n_bytes: int, seed: int) -> Iterator[str]:
    """JSON lines {"nats", "text"} of the first documents until their texts have `n_bytes` bytes of UTF-8 or more."""
    if n_bytes < 1:
        raise ValueError(f"n_bytes is {n_bytes}; there must be at least 1 byte of text")
    size = 0
    for one in stories(seed):
        yield json.dumps({"nats": one.nats, "text": one.text}, sort_keys=True, ensure_ascii=False) + "\n"
        size += len(one.text.encode())
        if size >= n_bytes:
            return
