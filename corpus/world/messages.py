"""Messages: short letters, half of them spam, and a rule that says which: **spam asks its reader to pay coins.**

The rule is about who gives what to whom. Every demand has an offer with the very same words in another order
(`letters.BARGAINS`), both classes tell the same news, and openings and closings only lean to one side, so that counting
words finds a part of the spam and no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from corpus.world.choices import Choices, Table
from corpus.world.letters import BARGAINS, COINS, DEMANDS, OFFERS, news
from corpus.world.lexicon import COLOUR_TABLE, PORTABLE_TABLE
from corpus.world.page import Page, compiled
from corpus.world.people import KIN, PLACE_TABLE, person

LABELS = ("ham", "spam")

# (sentence, weight in ham, weight in spam)
_GREETINGS = [
    ("Dear {reader}:", 5, 1), ("Good day, {reader}.", 3, 3), ("{reader}, my friend:", 1, 4), ("To {reader}:", 2, 3),
]  # fmt: skip
_OPENINGS = [
    ("I hope that you are well.", 6, 1),
    ("I have {colour.a} {thing}.", 1, 5),
    ("You have {colour.a} {thing}.", 5, 1),
    ("Listen, for I know of {colour.a} {thing}.", 1, 6),
    ("I write about {colour.a} {thing}.", 3, 3),
    ("This is about your {colour} {thing}.", 4, 2),
    ("Do you remember the {colour} {thing}?", 4, 2),
    ("{third} told me of {colour.a} {thing}.", 2, 4),
]
_CLOSINGS = [
    ("Come to supper soon.", 5, 2),
    ("Give my love to your {kin}.", 5, 2),
    ("Be quick, for others have asked.", 1, 4),
    ("Tell nobody of this.", 1, 4),
    ("I am {place.at} until evening.", 3, 3),
    ("You will find me {place.at}.", 3, 3),
    ("Answer me before night.", 2, 5),
    ("Thank you for everything.", 5, 2),
]
# Bargains that were made long ago: they ask nothing of anybody
_PAST = [
    ("Last week you paid me {n} coins for the {other_thing}.", 3, 2),
    ("Last week I paid you {n} coins for the {other_thing}.", 2, 3),
    ("Last week you brought me the {other_thing} for {n} coins.", 2, 2),
    ("My {kin} paid {n} coins for {other_thing.a}.", 2, 2),
]
_SIGNED = "{writer}"


@cache
def _leaning(name: str, label: str) -> Table[str]:
    rows = {"greetings": _GREETINGS, "openings": _OPENINGS, "closings": _CLOSINGS, "past": _PAST}[name]
    return Table([text for text, _, _ in rows], [spam if label == "spam" else ham for _, ham, spam in rows])


def message(page: Page, label: str) -> None:
    """One message of a class; a fifth of ham has no bargain at all."""
    page.let(reader=person, writer=person, colour=COLOUR_TABLE, thing=PORTABLE_TABLE, other_thing=PORTABLE_TABLE)
    page.let(third=person, n=COINS, kin=KIN, place=PLACE_TABLE)
    page.write(_leaning("greetings", label)).write(_leaning("openings", label))
    if page.chance(1, 2):
        news(page)
    if page.chance(1, 2):
        page.write(_leaning("past", label))
    page.let(n=COINS, kin=KIN)
    if label == "spam":
        page.write(DEMANDS)
    elif page.chance(4, 1):
        page.write(OFFERS)
    else:
        news(page)
    page.let(kin=KIN).write(_leaning("closings", label)).write(_SIGNED)


def messages(seed: int) -> Iterator[tuple[str, str]]:
    """(label, text) without end, ham and spam in turns, no text twice."""
    seen: set[str] = set()
    for i, label in _in_turns():
        page = Page(Choices(seed, "messages", i))
        message(page, label)
        text = page.text.replace("\n", " ")
        if text not in seen:
            seen.add(text)
            yield label, text


def some_messages(n: int, seed: int) -> list[tuple[str, str]]:
    """n messages, half of each class (ham has one more where n is odd)."""
    if n < 2:
        raise ValueError(f"messages is {n}; there must be at least 2, one of each class")
    wanted = {"ham": n - n // 2, "spam": n // 2}
    rows = messages(seed)
    found: list[tuple[str, str]] = []
    while any(wanted.values()):
        label, text = next(rows)
        if wanted[label]:
            wanted[label] -= 1
            found.append((label, text))
    return found


def asks_for_coins(text: str) -> bool:
    """The rule itself, from nothing but the text: one of its sentences demands coins of the reader."""
    return any(pattern.search(text) for pattern in _demands())


@cache
def _demands() -> tuple[re.Pattern[str], ...]:
    """What fits each demand, any single word in the place of a slot."""
    return tuple(
        re.compile("".join(re.escape(before) + (r"\w+" if slot else "") for before, slot, _ in compiled(demand)))
        for demand, _ in BARGAINS
    )


def _in_turns() -> Iterator[tuple[int, str]]:
    i = 0
    while True:
        yield i, LABELS[i % 2]
        i += 1
