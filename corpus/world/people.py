"""Who lives in the world, and where: names of people and villages, trades and the places where they work.

About half of all people have one of the common names; the others' names are made of a beginning and an ending that
tells a woman's name from a man's, and a village's likewise. All names of one text begin differently.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from corpus.world.choices import Table
from corpus.world.lexicon import with_article, words
from corpus.world.page import Page


@dataclass(frozen=True, slots=True)
class Person:
    """A name (`word`) and the pronouns of the one who has it."""

    word: str
    he: str
    him: str
    his: str
    He: str
    His: str


@dataclass(frozen=True, eq=False, slots=True)
class Place:
    """`at` and `to` a place, the `trade` of who works there, and what they did when somebody came (`work`)."""

    word: str
    at: str
    to: str
    trade: str
    work: str
    a_trade: str = field(init=False)
    At: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "At", self.at[0].upper() + self.at[1:])
        object.__setattr__(self, "a_trade", with_article(self.trade))


WOMEN = words("Ada Clara Dina Edith Flora Greta Hilda Ida Lena Martha Nelly Olga Ruth Stella Tilda Vera Wilma Agnes")
MEN = words("Adam Bruno Conrad David Emil Felix Gregor Hugo Ivo Jonas Karl Leo Max Nils Oscar Peter Simon Tom")
_BEGINNINGS = words(
    "Al Ber Bran Cor Dal El Fen Gar Hal Is Jor Kel Lor Mar Nev Or Per Quil Ren Sil Tam Ul Var Wen Yor Zel Bel "
    "Cas Dun Esk Far Gil Hob Jes Lin Mil Nor Os Pol Ruf Sor Tol Vin Wil Thal Brim Cal Dor Fal Gan Hur Ket Lud "
    "Mor Ros Sel Tor Wal"
)
_OF_WOMEN = words("a ina wen eth issa una ora elle inda ika")
_OF_MEN = words("o in ric ard us mund win bert ek olf")

_VILLAGE_BEGINNINGS = words(
    "Alder Ash Black Bram Clay Cold Copper Crow East Elder Fern Fox Glen Gold Hazel Hollow Iron Kings Lark "
    "Long Maple Marsh Mill North Otter Raven Reed Rook Silver Stone Swan Thorn West White Willow Winter"
)
_VILLAGE_ENDINGS = words("ford brook dale field ham well wick mere ton by stead moor gate cross")

PLACES = [
    Place("mill", "at the mill", "to the mill", "miller", "filling sacks with flour"),
    Place("bakery", "in the bakery", "to the bakery", "baker", "taking bread out of the oven"),
    Place("forge", "in the forge", "to the forge", "smith", "blowing on the coals"),
    Place("garden", "in the garden", "to the garden", "gardener", "watering the beans"),
    Place("inn", "at the inn", "to the inn", "innkeeper", "wiping the mugs"),
    Place("school", "in the school", "to the school", "teacher", "cleaning the slates"),
    Place("market", "at the market", "to the market", "merchant", "weighing salt"),
    Place("harbour", "at the harbour", "to the harbour", "fisher", "patching a net"),
    Place("meadow", "in the meadow", "to the meadow", "shepherd", "counting the lambs"),
    Place("stable", "in the stable", "to the stable", "groom", "brushing a mare"),
    Place("library", "in the library", "to the library", "librarian", "dusting the shelves"),
    Place("workshop", "in the workshop", "to the workshop", "carpenter", "planing a board"),
    Place("pottery", "in the pottery", "to the pottery", "potter", "shaping wet clay"),
    Place("barn", "in the barn", "to the barn", "farmer", "stacking hay"),
    Place("tower", "in the tower", "to the tower", "watchman", "winding the clock"),
    Place("ferry", "at the ferry", "to the ferry", "ferryman", "pulling on the rope"),
    Place("chapel", "in the chapel", "to the chapel", "organist", "trying a new hymn"),
    Place("orchard", "in the orchard", "to the orchard", "beekeeper", "smoking a hive"),
]
PLACE_TABLE = Table(PLACES)
KIN = Table(words("sister brother mother father aunt uncle cousin daughter son"))

_FIRST = Table(
    [*((name, True) for name in WOMEN), *((name, False) for name in MEN), *((start, None) for start in _BEGINNINGS)],
    [*[3] * len(WOMEN + MEN), *[2] * len(_BEGINNINGS)],
)
_ENDINGS = Table([*((end, True) for end in _OF_WOMEN), *((end, False) for end in _OF_MEN)])
_VILLAGES = Table(_VILLAGE_BEGINNINGS)
_VILLAGES_END = Table(_VILLAGE_ENDINGS)


def _person(name: str, woman: bool) -> Person:
    he, him, his = ("she", "her", "her") if woman else ("he", "him", "his")
    return Person(name, he, him, his, he.capitalize(), his.capitalize())


COMMON = Table([_person(name, woman) for names, woman in ((WOMEN, True), (MEN, False)) for name in names])
_COMMON = {person.word: person for person in COMMON.items}
_MADE = {(b, e): _person(b + e, woman) for b in _BEGINNINGS for e, woman in _ENDINGS.items}


def person(page: Page) -> Person:
    """A slot's late choice: somebody whose name begins unlike those of all who were named on the page so far."""
    start, woman = page.choices.pick(_FIRST, page.people)
    page.people.append((start, woman))
    if woman is not None:
        return _COMMON[start]
    page.foresee(start)
    end, _ = page.choices.pick(_ENDINGS)
    return _MADE[start, end]


def village(page: Page) -> str:
    """A village's name, chosen when the text reaches it."""
    beginning = page.choices.pick(_VILLAGES)
    page.foresee(beginning)
    return beginning + page.choices.pick(_VILLAGES_END)


def names() -> list[str]:
    """Every name of a person that there is."""
    return sorted({*_COMMON, *(made.word for made in _MADE.values())})
