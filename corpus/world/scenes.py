"""Scenes: two or three people, each at a place with a thing of some colour, and what can be asked about them.

The same scenes stand in the stories, asked about at the end, and in the instructions, asked about there.
"""

from __future__ import annotations

from dataclasses import dataclass

from corpus.world.choices import Table
from corpus.world.days import scenery
from corpus.world.lexicon import COLOUR_TABLE, NUMBERS, PORTABLE_TABLE
from corpus.world.page import Page, another
from corpus.world.people import PLACE_TABLE, person

SIGHTS = Table(
    [
        "{who} was {place.at} with {colour.a} {thing}.",
        "{who} stood {place.at} and held {colour.a} {thing}.",
        "{who} had {colour.a} {thing} and waited {place.at}.",
        "{place.At} was {who} with {colour.a} {thing}.",
        "{who} sat {place.at} and had {colour.a} {thing}.",
    ]
)


@dataclass(frozen=True)
class Question:
    """A question about one slot-bundle of a scene, its answer, and the slot of the word it turns on."""

    question: str
    answer: str
    about: str


# {who}, {place}, {thing}, {colour} are those of the person asked about
QUESTIONS = [
    Question("Who had the {thing}?", "{who}", "thing"),
    Question("Who was {place.at}?", "{who}", "place"),
    Question("Where was {who}?", "{place.at}", "place"),
    Question("Where was the {thing}?", "{place.at}", "thing"),
    Question("What did {who} have?", "{colour.a} {thing}", "thing"),
    Question("What colour was the {thing}?", "{colour}", "thing"),
    Question("What was {colour}?", "the {thing}", "thing"),
]
# {other…} are another person's
CHECKS = [
    Question("Was {who} {place.at}?", "yes", "place"),
    Question("Was {who} {otherplace.at}?", "no", "otherplace"),
    Question("Did {who} have the {thing}?", "yes", "thing"),
    Question("Did {who} have the {otherthing}?", "no", "otherthing"),
    Question("Was the {thing} {colour}?", "yes", "thing"),
    Question("Was the {thing} {othercolour}?", "no", "thing"),
]
PARTS = ("who", "place", "colour", "thing")


def sight(page: Page, number: int) -> None:
    """One more sentence of a scene: person `number` (from 0) and what is theirs, all of it unlike the others'."""
    before = range(number)
    late = {
        "who": person,
        "place": another(PLACE_TABLE, *(f"place_{i}" for i in before)),
        "colour": another(COLOUR_TABLE, *(f"colour_{i}" for i in before)),
        "thing": another(PORTABLE_TABLE, *(f"thing_{i}" for i in before)),
    }
    page.let(**late).write(SIGHTS)
    page.let(**{f"{part}_{number}": page[part] for part in PARTS})


def turn_to(page: Page, number: int, other: int) -> Page:
    """Make {who}, {place}, {colour}, {thing} those of person `number`, and {otherwho}… those of person `other`."""
    page.let(**{part: page[f"{part}_{number}"] for part in PARTS})
    return page.let(**{f"other{part}": page[f"{part}_{other}"] for part in PARTS})


_ASKED = {
    n: Table([(q, i, 0 if q in QUESTIONS else j)
              for i in range(n) for q in QUESTIONS + CHECKS for j in range(n)
              if i != j and ((q in CHECKS and q.answer == "no") or j == (i + 1) % n)])
    for n in (2, 3)
}  # fmt: skip
_OPENINGS = Table(
    [
        '"Listen well," said {elder}, "for I will ask you afterwards."',
        "{elder} told a short story by the fire.",
        '"Read the text and answer," said {elder}.',
        "One evening {elder} gave the children a riddle.",
        '"Who listens can answer," said {elder}, and began.',
        "{elder} spoke, and the children listened.",
    ]
)
_BESIDES = Table(
    [
        "Some {animals.plural} and {number} {fruit.plural} were near, and {hue} {flower.plural}.",
        "Beside them {number} {animals.plural} were looking on, and {bird.a} {perching.past} on {tree.a}.",
        "Nobody saw {bird.a} that {perching.past} on {look.a} {item}.",
        "In the {room} {number} {animals.plural} {perching.past}.",
        "There was {look.a} {item}, too, with {number} {flower.plural}.",
    ]
)
_COUNTS = Table(
    ["Then {elder} asked {n} questions.", "Of this there were {n} questions.", "After that, {elder} had {n} questions."]
)
_NUMBERS = Table(NUMBERS[3:7])


def scene(page: Page) -> None:
    """A document: a scene, then questions about it with their answers."""
    page.let(elder=person, n=_NUMBERS).write(_OPENINGS)
    n = 0
    for number in page.rounds(2, 3):
        sight(page, number)
        n += 1
    for _ in page.rounds(1, 2):
        scenery(page).write(_BESIDES)
    page.end_line().write(_COUNTS)
    asked: list[tuple[Question, int, int]] = []
    for _ in range(NUMBERS.index(page["n"])):
        question = page.choices.pick(_ASKED[n], asked)
        asked.append(question)
        ask(page, *question)


def ask(page: Page, question: Question, number: int, other: int) -> None:
    turn_to(page, number, other)
    answer = page.filled(question.answer)
    page.end_line().let(question=page.filled(question.question), answer=answer).write('"{question}" Answer: {answer}.')
