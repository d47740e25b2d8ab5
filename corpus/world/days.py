"""The frame of a tale: who and where, the season and its weather, the evening, and questions about what was told."""

from __future__ import annotations

from dataclasses import dataclass

from corpus.world.choices import Table
from corpus.world.lexicon import (
    ANIMAL_TABLE,
    BIRD_TABLE,
    COLOUR_TABLE,
    EVENING_TABLE,
    FLOWER_TABLE,
    FOOD_TABLE,
    FRUIT_TABLE,
    FURNITURE_TABLE,
    GARMENT_TABLE,
    INSECT_TABLE,
    NUMBERS,
    PERCH_TABLE,
    PORTABLE_TABLE,
    SEASONS,
    THING_ADJECTIVE_TABLE,
    TOY_TABLE,
    TRAVEL_TABLE,
    TREE_TABLE,
    words,
)
from corpus.world.page import Page, another
from corpus.world.people import KIN, PLACE_TABLE, person, village


@dataclass(frozen=True, eq=False, slots=True)
class Sky:
    """Weather (`word`), the `road` under it, what it did with a lost thing (`cause`), and how the day ended."""

    word: str
    road: str
    cause: str
    evening: str


_RAIN = Sky("rainy", "There were puddles on the road.", "The rain must have washed it there",
            "By evening the rain had stopped.")  # fmt: skip
_WIND = Sky("windy", "The wind pulled at every coat.", "The wind must have blown it there",
            "By evening the wind had gone to sleep.")  # fmt: skip
_SUN = Sky("sunny", "The road was dry and warm.", "A raven must have dropped it there",
           "The sun went down behind the hills.")  # fmt: skip
_FOG = Sky("foggy", "Nobody could see further than the next fence.", "In the fog nobody can have seen it",
           "By evening the fog had lifted.")  # fmt: skip
_SNOW = Sky("snowy", "The snow on the road was deep.", "The snow must have hidden it there",
            "In the evening the snow was falling again.")  # fmt: skip
_FROST = Sky("frosty", "The ice on the road was smooth.", "It must have slipped over the ice",
             "In the evening the stars were bright and cold.")  # fmt: skip
_HEAT = Sky("hot", "The road was dusty and the dogs slept in the shade.", "A tired dog must have carried it there",
            "The evening was cool at last.")  # fmt: skip
SKIES = {
    "spring": Table([_RAIN, _SUN, _WIND]),
    "summer": Table([_SUN, _HEAT, _RAIN]),
    "autumn": Table([_FOG, _WIND, _RAIN]),
    "winter": Table([_SNOW, _FROST, _FOG]),
}

_WHO = Table(
    [
        "{hero} the {home.trade} lived in {village}.",
        "In {village} there lived {home.a_trade} named {hero}.",
        "Everyone in {village} knew {hero} the {home.trade}.",
        "{hero} was {home.a_trade} in {village}.",
        "Long ago {hero} was the {home.trade} of {village}.",
        "This is a story of {hero}, {home.a_trade} from {village}.",
    ]
)
_WHEN = Table(
    [
        "One morning in {season} it was {sky}. {sky.road}",
        "It was a {sky} morning in {season}. {sky.road}",
        "It was {season}, and the day began {sky}. {sky.road}",
        "One {sky} day in {season} {hero.he} rose early. {sky.road}",
    ]
)
_HOUSE = Table(
    [
        "{hero.His} door was {hue}, and in the {room} stood {look.a} {item}.",
        "{hero.He} had {number} {animals.plural}, {hue.a} door and {look.a} {item}.",
        "In {hero.his} {room} there was {look.a} {item} beside {hue.a} {other_item}.",
        "{hero.He} kept {number} {animals.plural} and {other_number} {other_animals.plural}.",
        "{hero.He} lived with {hero.his} {kin}, {number} {animals.plural} and {hue.a} {other_item}.",
        "Behind {hero.his} house stood {tree.a} and {hue.a} {item}.",
        "{hero.He} liked {flower.plural}, {fruit.plural} and {hue} {garment.plural}.",
    ]
)
_ROADSIDE = Table(
    [
        "On the way {hero} saw {number} {animals.plural} and {look.a} {thing2}.",
        "{hue.Word} {flower.plural} grew under {tree.a}, and {bird.a} {perching.past} there.",
        "{hero} passed {tree.a}, {look.a} {item} and {number} {animals.plural}.",
        "There were {number} {animals.plural} behind a fence, and {insect.a} flew by.",
        "A child with {hue.a} {toy} and {look.a} {garment} waved.",
        "{hero} {moving.past} on for a mile and met {number} {animals.plural}.",
        "Somebody was selling {look} {thing2.plural} and {hue} {garment.plural} there.",
        "Two children {moving.past} after {hue.a} {bird}.",
    ]
)
_EVENINGS = Table(
    [
        "{hero} {doing.past} by the fire and ate {food.a} with {fruit.a}.",
        "{hero} {doing.past}, then {hero.he} {other_doing.past}, and then it was dark.",
        "At home {hero} {doing.past} until {hero.his} {kin} {other_doing.past}.",
        "Supper was {food.a} and {fruit.a}, and everybody {doing.past}.",
        "At night {hero} dreamed of {number} {animals.plural} in {hue} {garment.plural}.",
        "{hero} dreamed of {look.a} {thing2} and {number} {animals.plural}.",
        "In {village} they still speak of it.",
    ],
    [3, 3, 3, 3, 4, 3, 1],
)
_ROOMS = Table(words("kitchen cellar attic yard hall parlour pantry porch loft shed study garret larder scullery"))
_ANY_NUMBER = Table(NUMBERS[2:13])
_ASKERS = Table(
    [
        "{elder} told this story and asked {n}.",
        "When the story was over, {elder} asked {n}.",
        "{elder} had listened well and was asked {n}.",
    ]
)
_ASKED = {"one question": 1, "two questions": 2, "three questions": 3}
_HOW_MANY = Table(list(_ASKED), [1, 2, 1])

HOMES = PLACE_TABLE


def begin(page: Page) -> None:
    """Who it is about, and what kind of morning it is."""
    page.let(hero=person, village=village, home=HOMES)
    page.let(season=_SEASONS, sky=lambda page: page.choices.pick(SKIES[page["season"]]), doing=EVENING_TABLE)
    page.write(_WHO)
    scenery(page).write(_HOUSE).write(_WHEN)
    page.fact("Who was the {home.trade}?", "{hero}")
    page.fact("Where did {hero} live?", "in {village}")
    page.fact("What was the weather?", "{sky}")


_SEASONS = Table(SEASONS)


def scenery(page: Page) -> Page:
    """Slots for whatever else there is to see, to be chosen anew."""
    return page.let(
        hue=COLOUR_TABLE, look=THING_ADJECTIVE_TABLE, room=_ROOMS, item=FURNITURE_TABLE, kin=KIN,
        other_item=another(FURNITURE_TABLE, "item"), number=_ANY_NUMBER, animals=ANIMAL_TABLE, other_number=_ANY_NUMBER,
        other_animals=another(ANIMAL_TABLE, "animals"), tree=TREE_TABLE, flower=FLOWER_TABLE, fruit=FRUIT_TABLE,
        garment=GARMENT_TABLE, thing2=PORTABLE_TABLE, insect=INSECT_TABLE, bird=BIRD_TABLE, toy=TOY_TABLE,
        moving=TRAVEL_TABLE, perching=PERCH_TABLE, doing=EVENING_TABLE,
        other_doing=another(EVENING_TABLE, "doing"), food=FOOD_TABLE,
    )  # fmt: skip


def on_the_way(page: Page) -> None:
    """Something to be seen on the road."""
    scenery(page).write(_ROADSIDE)


def end(page: Page) -> None:
    """The evening, with the weather that the morning promised."""
    scenery(page).write("{sky.evening}").write(_EVENINGS)


def questions(page: Page) -> None:
    """Questions that the text has answered, at most three, with their answers."""
    page.end_line().let(elder=person, n=_HOW_MANY).write(_ASKERS)
    table = Table(page.facts)
    asked: list[tuple[str, str]] = []
    for _ in range(_ASKED[page["n"]]):
        question, answer = page.choices.pick(table, asked)
        asked.append((question, answer))
        page.end_line().let(question=question, answer=answer).write('"{question}" Answer: {answer}.')


def coins(n: int) -> str:
    return f"{NUMBERS[n]} coin{'s' if n > 1 else ''}"
