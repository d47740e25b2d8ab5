"""Letters about a bargain: one of two people is to pay, the other to give a thing, and the order of the words says who.

In the stories such a letter is read, understood and followed. The messages (`messages.py`) are made of the same
sentences: what asks its reader for coins is spam, what promises coins to its reader is not. Both use the same words.
"""

from __future__ import annotations

from corpus.world.choices import Table
from corpus.world.days import questions, scenery
from corpus.world.lexicon import COLOUR_TABLE, DAYS, NUMBERS, PORTABLE_TABLE
from corpus.world.page import Page
from corpus.world.people import KIN, PLACE_TABLE, person

# Each demand has an offer of the very same words: only their order says who pays.
BARGAINS = [
    ("If you send me {n} coins, I will bring you the {thing}.",
     "If you bring me the {thing}, I will send you {n} coins."),
    ("I will bring you the {thing} if you send me {n} coins.",
     "I will send you {n} coins if you bring me the {thing}."),
    ("Send me {n} coins, and I will give you the {thing}.",
     "Give me the {thing}, and I will send you {n} coins."),
    ("You pay {n} coins today, and I bring the {thing} tomorrow.",
     "I pay {n} coins today, and you bring the {thing} tomorrow."),
    ("For {n} of your coins you can have my {thing}.",
     "For your {thing} you can have {n} of my coins."),
    ("The {thing} will be yours, but first I must have the {n} coins from you.",
     "The {n} coins will be yours, but first I must have the {thing} from you."),
    ("My {kin} will hand you the {thing} when you hand my {kin} {n} coins.",
     "My {kin} will hand you {n} coins when you hand my {kin} the {thing}."),
    ("I have the {thing} and want {n} coins; you have the coins, so write to me.",
     "You have the {thing} and want {n} coins; I have the coins, so write to me."),
]  # fmt: skip
DEMANDS = Table([demand for demand, _ in BARGAINS])
OFFERS = Table([offer for _, offer in BARGAINS])
COINS = Table(NUMBERS[2:11])

# What else one writes; it says nothing about who pays
NEWS = Table(
    [
        "The {animals.plural} are well.",
        "My {kin} {doing.past} all {day}.",
        "We have {number} {fruit.plural} and {food.a} here.",
        "Here the {flower.plural} are {hue} again.",
        "On {day} I saw {bird.a} on {tree.a}.",
        "My {kin} is {look.a} {item} richer.",
        "The {room} is full of {animals.plural}.",
        "My {hue} {garment} is {look} again.",
        "I {other_doing.past} and thought of you.",
        "Last {day} you {doing.past} in our {room}.",
        "On {day} we ate {food.a} with {number} {fruit.plural}.",
        "There is {insect.a} on my {hue} {item}.",
    ]
)
_DAYS = Table(DAYS)

_OPENINGS = Table(
    [
        "One day a letter came for {reader}. It was from {writer} {place.at}, and this is what it said.",
        "{reader} found a letter under the door. {writer} {place.at} had written it.",
        "A boy brought {reader} a letter from {writer} {place.at}.",
        "{writer} sat {place.at} and wrote a letter to {reader}.",
        "{reader} opened a letter, and read it aloud. It came from {writer} {place.at}.",
    ]
)
_GREETINGS = Table(["Dear {reader},", "Good day, {reader}.", "{reader}, my friend,", "To {reader}:"])
_DEMAND_SUBJECTS = Table(
    ["I have {colour.a} {thing}.", "Here is {colour.a} {thing}.", "I found {colour.a} {thing} {spot.at}.",
     "There is {colour.a} {thing} in my hands."]
)  # fmt: skip
_OFFER_SUBJECTS = Table(
    ["You have {colour.a} {thing}.", "I need {colour.a} {thing}.", "You found {colour.a} {thing} {spot.at}.",
     "I hear of {colour.a} {thing} in your hands."]
)  # fmt: skip
_WARNINGS = Table(
    [
        '"This letter asks you to pay," said {friend}. "Be careful."',
        '"{writer} wants coins from you," said {friend}. "That may be a trick."',
        '"You are asked for coins," said {friend}. "Think twice."',
    ]
)
_JOYS = Table(
    [
        '"This letter promises you coins," said {friend}. "Be glad."',
        '"{writer} will pay you," said {friend}. "That is an honest bargain."',
        '"You are offered coins," said {friend}. "Lucky you."',
    ]
)
_REFUSALS = Table(
    [
        "So {reader} kept the {n} coins, and no {thing} ever came.",
        "{reader} did not answer, and the {n} coins stayed in the purse.",
        "{reader} laughed, and the letter went into the stove.",
        '"I will not send {n} coins for a {thing} that I have not seen," said {reader}.',
    ]
)
_PAID = Table(
    [
        "But {reader} sent the {n} coins, and waited. The {thing} came late, but it came.",
        "But {reader} sent the {n} coins, and waited. The {thing} never came.",
    ]
)
_FULFILLED = Table(
    [
        "So {reader} brought the {thing}, and {writer} counted out {n} coins.",
        "{reader} went {place.to} with the {thing}, and came home with {n} coins.",
        "The {thing} was brought by {reader}, and the {n} coins were paid by {writer}.",
    ]
)
_QUESTIONS = [("Who was to pay?", "{payer}"), ("Who was to have the coins?", "{paid}"),
              ("Who was to have the {thing}?", "{payer}"), ("Who wrote the letter?", "{writer}"),
              ("Who read the letter?", "{reader}"), ("How many coins were to be paid?", "{n}")]  # fmt: skip


def news(page: Page) -> Page:
    """One sentence about something else."""
    return scenery(page).let(day=_DAYS).write(NEWS)


def letter(page: Page) -> None:
    """A document: a letter, what it means, and what came of it."""
    page.let(reader=person, writer=person, friend=person, place=PLACE_TABLE, spot=PLACE_TABLE)
    page.let(thing=PORTABLE_TABLE, colour=COLOUR_TABLE, n=COINS, kin=KIN)
    page.write(_OPENINGS).end_line().write(_GREETINGS).end_line()
    news(page)
    if page.chance(1, 1):
        page.write(_DEMAND_SUBJECTS).write(DEMANDS)
        page.let(payer=page["reader"], paid=page["writer"])
        news(page)
        page.end_line().write(_WARNINGS)
        page.write(_REFUSALS if page.chance(2, 1) else _PAID)
    else:
        page.write(_OFFER_SUBJECTS).write(OFFERS)
        page.let(payer=page["writer"], paid=page["reader"])
        news(page)
        page.end_line().write(_JOYS).write(_FULFILLED)
    for question, answer in _QUESTIONS:
        page.fact(question, answer)
    if page.chance(2, 1):
        questions(page)
