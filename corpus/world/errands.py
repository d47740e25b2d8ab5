"""Errands: a thing bought from who makes it, and a thing mended in exchange for a chore (two plots of `tales.py`)."""

from __future__ import annotations

from collections.abc import Callable

from corpus.world.choices import Table
from corpus.world.days import coins
from corpus.world.lessons import SUMS
from corpus.world.lexicon import (
    COLOUR_TABLE,
    FLOWERS,
    FOODS,
    FRUIT_TABLE,
    FRUITS,
    GARMENTS,
    INSTRUMENTS,
    JEWELS,
    THING_ADJECTIVE_TABLE,
    TOOLS,
    TOYS,
    VESSELS,
    Noun,
)
from corpus.world.page import Page
from corpus.world.people import KIN, PLACES, Place, person

PLACE = {place.word: place for place in PLACES}

# Where a kind of thing is made, sold and mended
MAKERS: dict[str, Place] = {
    noun.word: PLACE[place]
    for place, nouns in (
        ("forge", TOOLS + JEWELS),
        ("pottery", VESSELS),
        ("workshop", INSTRUMENTS + TOYS),
        ("market", GARMENTS),
        ("bakery", FOODS),
        ("garden", FLOWERS),
        ("orchard", FRUITS),
    )
    for noun in nouns
}
GOODS = Table(TOOLS + JEWELS + VESSELS + INSTRUMENTS + TOYS + GARMENTS + FOODS + FLOWERS)
BREAKABLE = Table(TOOLS + JEWELS + VESSELS + INSTRUMENTS + TOYS)


def counted(page: Page) -> None:
    """Slots {a}, {b} and {sum}, fruit that adds up, once the text gets there."""

    def part(i: int) -> Callable[[Page], str]:
        return lambda page: page["fruit"].many((*page["sum_of"], sum(page["sum_of"]))[i])

    page.let(sum_of=SUMS, fruit=FRUIT_TABLE, a=part(0), b=part(1), sum=part(2))


# What the hero, who has a trade, would not go to somebody else for
_OWN = {place: [noun for noun in GOODS.items if MAKERS[noun.word] is place] for place in PLACES}


def _of_others(table: Table[Noun]) -> Callable[[Page], Noun]:
    """A thing that is made in a trade other than the hero's."""
    return lambda page: page.choices.pick(table, _OWN[page["home"]])


_WISH = Table(
    [
        "{hero} wanted to buy {colour.a} {thing} for {hero.his} {kin}.",
        "{hero}'s {kin} wished for {colour.a} {thing}.",
        "{hero} needed {colour.a} {thing} as a gift for {hero.his} {kin}.",
        '"Please bring me {colour.a} {thing}," said {hero}\'s {kin}.',
    ]
)
_PURSE = Table(
    [
        "{hero} took {sum} and went {place.to}.",
        "With {sum} in a purse {hero} walked {place.to}.",
        "So {hero} went {place.to}, with {sum} in one hand.",
    ]
)
_PRICE = Table(
    [
        '"If you give me {b}, I will give you the {thing}," said {other} the {place.trade}.',
        '"How much is the {thing}?" asked {hero}. "I want {b}," said {other} the {place.trade}.',
        'There {other} the {place.trade} was {place.work}. "The {thing} costs {b}," said {other}.',
        '"For {b} the {thing} is yours," said {other} the {place.trade}.',
    ]
)
_PAY = Table(
    [
        "{hero} paid {b} and had {a} left.",
        "So {hero} gave {other.him} {b} and kept {a}.",
        "{hero} counted out {b}, and {a} stayed in the purse.",
    ]
)
_CARRIED = Table(
    [
        "The {thing} was sold by {other} and carried home by {hero}.",
        "{other} sold the {thing}, and {hero} carried it home.",
        "The {thing} was wrapped by {other}, and {hero}'s {kin} was happy.",
        "It was {quality} and not {quality.opposite}, and {hero}'s {kin} was happy.",
        "{hero}'s {kin} laughed and kept the {colour} {thing} for many years.",
    ]
)


def bought(page: Page) -> None:
    page.let(thing=_of_others(GOODS), colour=COLOUR_TABLE, kin=KIN, other=person, quality=THING_ADJECTIVE_TABLE)

    def part(i: int) -> Callable[[Page], str]:
        return lambda page: coins((*page["sum_of"], sum(page["sum_of"]))[i])

    page.let(place=lambda page: MAKERS[page["thing"].word], sum_of=SUMS, a=part(0), b=part(1), sum=part(2))
    page.write(_WISH).write(_PURSE).write(_PRICE).write(_PAY).write(_CARRIED)
    page.fact("Who sold the {thing}?", "{other}")
    page.fact("Who bought the {thing}?", "{hero}")
    page.fact("What did {hero} buy?", "{colour.a} {thing}")
    page.fact("How much was the {thing}?", "{b}")
    page.fact("Where did {hero} go?", "{place.to}")


_BROKEN = Table(
    [
        "{hero} dropped {hero.his} {colour} {thing}, and it was broken.",
        "{hero}'s {colour} {thing} had broken in the night.",
        "{hero} had {colour.a} {thing}, but it was broken.",
        "{hero}'s {kin} had broken the {colour} {thing}.",
    ]
)
_MENDER = Table(
    [
        "Who could mend it? {hero} took it {place.to}, to {other} the {place.trade}.",
        "{place.At} {other} the {place.trade} was {place.work}. {hero} showed {other.him} the {thing}.",
        "So {hero} carried it {place.to}, where {other} the {place.trade} was {place.work}.",
    ]
)
CHORES = {
    "sweep the floor": "swept the floor",
    "carry water": "carried water",
    "feed the hens": "fed the hens",
    "chop some wood": "chopped some wood",
    "wash the windows": "washed the windows",
    "write a letter": "wrote a letter",
    "sing a song": "sang a song",
    "hold the ladder": "held the ladder",
    "catch the mouse": "caught the mouse",
    "bake some bread": "baked some bread",
}
_BARGAIN = Table(
    [
        '"If you {chore} for me, I will mend it," said {other}.',
        '"I will mend it if you {chore} for me," said {other}.',
        '"First {chore} for me," said {other}, "and then it will be mended."',
    ]
)
_DONE = Table(
    [
        "So {hero} {chored}, and {other} mended the {thing}.",
        "{hero} {chored}, and the {thing} was mended by {other}.",
        "So {hero} {chored} all morning. At noon the {thing} was whole again.",
    ]
)
_AFTER = Table(
    [
        "Now it was {quality} and not {quality.opposite}.",
        "It looked better than before.",
        "{hero} thanked {other.him} with {sum}: {a} and {b}.",
        "{hero} brought {other.him} {a} and then {b}, which made {sum}.",
    ]
)


def broken(page: Page) -> None:
    page.let(thing=_of_others(BREAKABLE), colour=COLOUR_TABLE, kin=KIN, other=person, quality=THING_ADJECTIVE_TABLE)
    page.let(place=lambda page: MAKERS[page["thing"].word], chore=_CHORES, chored=lambda page: CHORES[page["chore"]])
    page.write(_BROKEN).write(_MENDER).write(_BARGAIN).write(_DONE)
    counted(page)
    page.write(_AFTER)
    page.fact("Who mended the {thing}?", "{other}")
    page.fact("Where was {other}?", "{place.at}")
    page.fact("What colour was the {thing}?", "{colour}")
    page.fact("What was mended?", "the {thing}")


_CHORES = Table(list(CHORES))
