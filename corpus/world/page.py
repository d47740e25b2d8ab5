"""A page: text in the making. Sentences are templates, and what a slot stands for is chosen when the text reaches it.

    page.let(hero=person, thing=THINGS)
    page.write("{hero} had {thing.a}.")     # now page["thing"] is one of THINGS, and stays so
    page.write(ENDINGS)                     # a table of templates: one is picked, then written

Choosing late has two uses. No choice can be made that the text does not show, and whoever reads the text left to right
can follow the choices one by one, which is how `derivations.py` finds all the ways a text can come about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from string import Formatter
from typing import Any

from corpus.world.choices import Choices, Table


@cache
def compiled(template: str) -> tuple[tuple[str, str, str], ...]:
    """(text before, slot, attribute) for each slot of a template; "" as slot for the text after the last."""
    pieces = []
    for text, field, _, _ in Formatter().parse(template):
        slot, _, attribute = (field or "").partition(".")
        pieces.append((text, slot, attribute or "word"))
    return tuple(pieces)


class Told:
    """A slot that writes itself onto the page, piece by piece, each time the text reaches it."""

    __slots__ = ("tell",)

    def __init__(self, tell: Callable[[Page], None]) -> None:
        self.tell = tell


class Page:
    """Text and slots. A slot holds a string, an object with the attributes that templates name (`word` by default),
    a Told, or, until the text first reaches it, a Table or a function of the page that makes the choice."""

    __slots__ = ("_gap", "_pieces", "choices", "facts", "people", "slots")

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.slots: dict[str, Any] = {}
        self.people: list[Any] = []  # who has been named so far
        self.facts: list[tuple[str, str]] = []  # questions that the text answers, with their answers
        self._pieces: list[str] = []
        self._gap = ""

    def __getitem__(self, slot: str) -> Any:
        """What a slot stands for, chosen now if the text hasn't yet."""
        value = self.slots[slot]
        if type(value) is Table:
            value = self.slots[slot] = self.choices.pick(value)
        elif callable(value):
            value = self.slots[slot] = value(self)
        return value

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def let(self, **slots: Any) -> Page:
        """Say what slots stand for, in place of what they stood for before."""
        self.slots.update(slots)
        return self

    def emit(self, piece: str) -> None:
        self._pieces.append(piece)

    def foresee(self, beginning: str) -> None:
        """Say how the word goes on that is being chosen for this very place (`derivations.py` listens)."""

    def write(self, template: str | Table[str]) -> Page:
        """Write one sentence or more, a space before it; a table's templates are chosen from first."""
        if type(template) is Table:
            template = self.choices.pick(template)
        assert isinstance(template, str)
        if self._gap:
            self.emit(self._gap)
        self._gap = " "
        for text, slot, attribute in compiled(template):
            if text:
                self.emit(text)
            if slot:
                value = self[slot]
                if type(value) is Told:
                    value.tell(self)
                else:
                    self.emit(value if type(value) is str else getattr(value, attribute))
        return self

    def chance(self, yes: int, no: int) -> bool:
        """True with the odds yes : no; the text must then show which it was."""
        return self.choices.pick(_odds(yes, no))

    def rounds(self, fewest: int, most: int) -> Iterator[int]:
        """0, 1, 2, … for each of `fewest` to `most` rounds, all numbers equally likely, each next one decided late."""
        for n in range(most):
            if n >= fewest and not self.chance(most - n, 1):
                return
            yield n

    def end_line(self) -> Page:
        self._gap = "\n"
        return self

    def fact(self, question: str, answer: str) -> None:
        """Remember what a later question may ask; both are templates over slots that are already chosen."""
        self.facts.append((self.filled(question), self.filled(answer)))

    def filled(self, template: str) -> str:
        """A template as text, nothing written."""
        values = []
        for text, slot, attribute in compiled(template):
            values.append(text)
            if slot:
                value = self[slot]
                values.append(value if type(value) is str else getattr(value, attribute))
        return "".join(values)


@cache
def _odds(yes: int, no: int) -> Table[bool]:
    return Table([True, False], [yes, no])


def another(table: Table[Any], *slots: str) -> Callable[[Page], Any]:
    """A slot's late choice from `table`, of what the named slots don't already hold."""

    def choose(page: Page) -> Any:
        return page.choices.pick(table, [page.slots[slot] for slot in slots if slot in page.slots])

    return choose
