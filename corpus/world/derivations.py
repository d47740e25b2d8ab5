"""The ways a text can come about: the proof that the price of a document is -ln P(its text).

`derivations(tell, text)` follows every choice that the grammar could have made and drops a way as soon as what it wrote
differs from the text. It is a parser for any grammar written on a `Page`, and a complete one: if it returns a single
cost, that is the text's surprisal, and otherwise P(text) is the sum over all ways. `reduced` enumerates a smaller world
instead, in which every table keeps a few of its items, down to the last text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from fractions import Fraction
from typing import Any

from corpus.world.choices import PICO, Choices, Table, ln
from corpus.world.page import Page

Tell = Callable[[Page], None]
Keep = Callable[[Table[Any]], int]


class _Branch(Exception):
    def __init__(self, ways: int) -> None:
        self.ways = ways


class _Differs(Exception):
    """What was written isn't how the text goes on."""


class _Given(Choices):
    """Choices that are given as numbers; asks for the next by raising _Branch. `probability` is exact."""

    __slots__ = ("_given", "_keep", "_next", "probability")

    def __init__(self, given: tuple[int, ...], keep: Callable[[Table[Any]], tuple[Any, ...]]) -> None:
        super().__init__(0)
        self._given, self._keep, self._next = given, keep, 0
        self.probability = Fraction(1)

    def pick(self, table: Table[Any], but: Collection[Any] = ()) -> Any:
        items = [item for item in self._keep(table) if item not in but] or [
            item for item in table.items if item not in but
        ][:1]
        if self._next == len(self._given):
            raise _Branch(len(items))
        item = items[self._given[self._next]]
        self._next += 1
        left = sum(table.weights[item] for item in items)
        self.probability *= Fraction(table.weights[item], left)
        self.cost += ln(left) - ln(table.weights[item])
        return item


class _Compared(Page):
    """A page that may only say what the text says."""

    __slots__ = ("_place", "_target")

    def __init__(self, choices: Choices, target: str) -> None:
        super().__init__(choices)
        self._target, self._place = target, 0

    def foresee(self, beginning: str) -> None:
        if not self._target.startswith(beginning, self._place):
            raise _Differs

    def emit(self, piece: str) -> None:
        if not self._target.startswith(piece, self._place):
            raise _Differs
        self._place += len(piece)
        super().emit(piece)


def derivations(tell: Tell, text: str) -> list[float]:
    """The surprisal in nats of each way in which `tell` writes exactly `text`; an unambiguous grammar has at most one.

    Takes time in proportion to the alternatives along the way: about a second for a document of the world.
    """
    found = []
    open_ways: list[tuple[int, ...]] = [()]
    while open_ways:
        given = open_ways.pop()
        choices = _Given(given, lambda table: table.items)
        page = _Compared(choices, text)
        try:
            tell(page)
        except _Branch as branch:
            open_ways.extend((*given, way) for way in range(branch.ways))
        except _Differs:
            continue
        else:
            if page.text == text:
                found.append(choices.cost / PICO)
    return found


def reduced(tell: Tell, seed: int, keep: Keep) -> Iterator[tuple[str, Fraction]]:
    """Every derivation of a smaller world, as (text, exact probability): each table keeps `keep(table)` of its items,
    which ones decided by the seed, with their weights renormalized (one at least where others are excluded)."""
    open_ways: list[tuple[int, ...]] = [()]
    kept: dict[Table[Any], tuple[Any, ...]] = {}

    def keep_some(table: Table[Any]) -> tuple[Any, ...]:
        if table not in kept:
            key = seed.to_bytes(8, "little", signed=True)
            places = sorted(
                range(len(table)), key=lambda i: hashlib.blake2b(repr((i, table.total)).encode(), key=key).digest()
            )
            kept[table] = tuple(table.items[i] for i in sorted(places[: keep(table)]))
        return kept[table]

    while open_ways:
        given = open_ways.pop()
        choices = _Given(given, keep_some)
        page = Page(choices)
        try:
            tell(page)
        except _Branch as branch:
            open_ways.extend((*given, way) for way in range(branch.ways))
        else:
            yield page.text, choices.probability
