"""Tales: a day in somebody's life. Something is lost, bought, broken, runs away or is shared, and all ends well.

What a tale says stays true in it: the weather of the morning decides the road, the reason and the evening; who works
at a place has its trade; a thing is sold where such things are made, and mended by who can mend it; coins and fruit are
counted right; and the questions at the end ask only what was told.
"""

from __future__ import annotations

from collections.abc import Callable

from corpus.world.choices import Table
from corpus.world.days import begin, end, on_the_way, questions
from corpus.world.errands import GOODS, bought, broken, counted
from corpus.world.lexicon import (
    ANIMAL_TABLE,
    COLOUR_TABLE,
    DEED_TABLE,
    FRUIT_TABLE,
    MOOD_TABLE,
    NUMBERS,
    PORTABLE_TABLE,
    THING_ADJECTIVE_TABLE,
    alphabetical,
)
from corpus.world.page import Page, another
from corpus.world.people import KIN, PLACES, person

SPOTS = Table(
    ["under a bench", "behind the door", "in the tall grass", "beside the well", "on the roof", "between two stones",
     "under the stairs", "in an old nest", "behind a barrel", "in the hollow oak", "near the bridge",
     "below the window",
     "inside a hollow log", "on a window sill", "under the hay", "behind the stove", "at the foot of a ladder",
     "among the nettles", "on the garden wall", "in a wheelbarrow"]
)  # fmt: skip

_LOST = Table(
    [
        "{hero} could not find {hero.his} {colour} {thing}.",
        "{hero}'s {colour} {thing} was gone.",
        "{hero} looked for {hero.his} {colour} {thing} and did not find it.",
        "Where was {hero}'s {colour} {thing}? It was lost.",
    ]
)
_LIKE = Table(
    [
        "It was {quality}, not {quality.opposite}, and {hero} liked it.",
        "{hero} wanted no other, for this one was {quality} and not {quality.opposite}.",
        "It was {quality.a} {thing}, and {hero} did not want {colour2.a} one.",
        "{hero}'s {kin} had made it long ago.",
    ]
)
_GO = Table(
    [
        "{hero} went {place.to}, where {other} the {place.trade} was {place.work}.",
        "{place.At} {other} the {place.trade} was {place.work}.",
        "{hero} asked {other} the {place.trade}, who was {place.at}, {place.work}.",
        "{other} the {place.trade} was {place.work} when {hero} came {place.to}.",
    ]
)
_NO = Table(
    [
        '"Have you seen my {thing}?" asked {hero}. "No," said {other}.',
        '"I have lost my {thing}," said {hero}. "It is not here," said {other}.',
        '"Is my {thing} here?" asked {hero}. "I have not seen it," said {other}.',
        "But {other} had seen no {thing}.",
    ]
)
_YES = Table(
    [
        '"Have you seen my {thing}?" asked {hero}. "Yes," said {other}, "I found it {spot}. {sky.cause}."',
        '"I have lost my {thing}," said {hero}. "Look {spot}," said {other}. "{sky.cause}."',
        '"Is this your {thing}?" asked {other}. "It was {spot}. {sky.cause}."',
        'And there was the {thing}, {spot}. "{sky.cause}," said {other}.',
    ]
)
_SHARE = Table(
    [
        "{hero} had {sum} and gave {b} to {other}, so {hero.he} had {a} left.",
        "Of {hero.his} {sum}, {hero} gave {b} to {other}. Now {hero.he} had {a}.",
        "{other} had {a}. {hero} gave {other.him} {b} more, and that made {sum}.",
        "{hero} thanked {other.him} and went home with the {thing}.",
        "{other} and {hero} drank a cup of milk together.",
    ],
    [2, 2, 2, 1, 1],
)


def meet(page: Page) -> None:
    """The hero comes to a new place and who works there."""
    place = page.choices.pick(OTHER_PLACES, [page["home"], *page.slots.setdefault("seen", [])])
    page.slots["seen"].append(place)
    page.let(place=place, other=person).write(_GO)
    page.fact("Who was the {place.trade}?", "{other}")
    page.fact("Where was {other}?", "{place.at}")


OTHER_PLACES = Table(PLACES)


def lost(page: Page) -> None:
    page.let(thing=PORTABLE_TABLE, colour=COLOUR_TABLE, quality=THING_ADJECTIVE_TABLE, kin=KIN)
    page.let(colour2=another(COLOUR_TABLE, "colour"), spot=SPOTS)
    page.write(_LOST).write(_LIKE)
    for _ in page.rounds(0, 1):
        meet(page)
        page.write(_NO)
    meet(page)
    page.write(_YES)
    counted(page)
    page.write(_SHARE)
    page.fact("Who lost the {thing}?", "{hero}")
    page.fact("What colour was the {thing}?", "{colour}")
    page.fact("Where was the {thing}?", "{spot}")
    page.fact("What did {hero} lose?", "{colour.a} {thing}")


_HAD = Table(
    [
        "{hero} had {colour.a} {animal}, but now it was gone.",
        "In the night {hero}'s {colour} {animal} had run away.",
        "The gate was open, and {hero}'s {colour} {animal} was gone.",
    ]
)
_KIND = Table(
    [
        "No {animal.category} was better known to {hero}.",
        "It was the only {animal.category} of the house.",
        "{animal.A} is a clever {animal.category}.",
        "It was {mood.a} {animal.category}, and not {mood.opposite} at all.",
    ]
)
_NONE = Table(
    [
        '"Has my {animal} come by?" asked {hero}. "No," said {other}, "I saw {n} {others.plural}, but no {animal}."',
        '"I am looking for my {animal}," said {hero}. "I have not seen it," said {other}.',
        "{other} had seen {n} {others.plural}, but no {animal}.",
    ]
)
_FOUND = Table(
    [
        '"Has my {animal} come by?" asked {hero}. "Yes," said {other}, "it is {spot}."',
        '"Your {animal} is {spot}," said {other}. "I gave it {gift.a}."',
        'And {spot} sat the {animal}. "It ate {gift.a}," said {other}.',
    ]
)


def ran_away(page: Page) -> None:
    page.let(animal=ANIMAL_TABLE, colour=COLOUR_TABLE, mood=MOOD_TABLE, spot=SPOTS, gift=FRUIT_TABLE)
    page.write(_HAD).write(_KIND)
    for _ in page.rounds(0, 1):
        meet(page)
        page.let(others=lambda page: page.choices.pick(ANIMAL_TABLE, [page["animal"]]), n=_SOME).write(_NONE)
    meet(page)
    page.write(_FOUND)
    page.let(thing=page["animal"])
    counted(page)
    page.write(_SHARE)
    page.fact("Who lost the {animal}?", "{hero}")
    page.fact("What colour was the {animal}?", "{colour}")
    page.fact("Where was the {animal}?", "{spot}")
    page.fact("What kind of thing is {animal.a}?", "{animal.a_category}")


_SOME = Table(NUMBERS[2:10])

_FEAST = Table(
    [
        "{hero} asked {friend} and {guest} to supper.",
        "{friend} and {guest} came to {hero} for supper.",
        "It was a feast day, and {hero} had two guests, {friend} and {guest}.",
    ]
)
_GIFTS = Table(
    [
        "{friend} brought {colour.a} {x}, {guest} brought {colour2.a} {y}, and {hero} gave them {z.a}.",
        "{friend} had {colour.a} {x} as a gift, and {guest} had {colour2.a} {y}. {hero} put {z.a} beside them.",
        "The {colour} {x} was brought by {friend} and the {colour2} {y} by {guest}. {hero} added {z.a}.",
    ]
)
_LISTED = Table(
    [
        "There were three things on the table. By the alphabet they were: {sorted}.",
        "{hero} wrote them down in the order of the alphabet: {sorted}.",
        "The three things, sorted by the alphabet: {sorted}.",
    ]
)
_THEN = Table(
    [
        "Then {friend} {deed.past} the {x}.",
        "Later the {y} was {deed.participle} by {guest}.",
        "In the end the {z} was {deed.participle} by {friend}.",
        "Then {guest} {deed.past} the {z}.",
    ]
)
_ATE = Table(
    [
        "They ate {sum}: {a} in the evening and {b} at night.",
        "There were {sum} in a bowl. They ate {a}, and {b} were left over.",
        "{friend} ate {a} and {guest} ate {b}. Together that was {sum}.",
    ]
)


def shared(page: Page) -> None:
    page.let(friend=person, guest=person, colour=COLOUR_TABLE, colour2=another(COLOUR_TABLE, "colour"), deed=DEED_TABLE)
    page.let(x=GOODS, y=another(GOODS, "x"), z=another(GOODS, "x", "y"))
    page.let(sorted=lambda page: ", ".join(noun.word for noun in alphabetical([page["x"], page["y"], page["z"]])))
    page.write(_FEAST).write(_GIFTS).write(_LISTED).write(_THEN)
    counted(page)
    page.write(_ATE)
    page.fact("Who brought the {x}?", "{friend}")
    page.fact("Who brought the {y}?", "{guest}")
    page.fact("What colour was the {y}?", "{colour2}")
    page.fact("How many guests were there?", "two")
    page.fact("What did {friend} bring?", "{colour.a} {x}")


_PLOTS: Table[Callable[[Page], None]] = Table([lost, bought, broken, ran_away, shared], [3, 3, 2, 2, 3])


_SHORT = (bought, broken, shared)  # plots that leave room for a second thing to see on the road


def tale(page: Page) -> None:
    """A document: a morning, what happened, the evening, and often some questions about it."""
    begin(page)
    page.end_line()
    on_the_way(page)
    plot = page.choices.pick(_PLOTS)
    if plot in _SHORT:
        on_the_way(page)
    plot(page)
    page.end_line()
    end(page)
    if page.chance(1, 1):
        questions(page)
