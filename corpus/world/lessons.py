"""Lessons: a teacher asks about words and numbers, a pupil answers. Each question has one right answer.

What is asked here (plurals, past tenses, opposites, kinds of things, sums, orders) is what the instructions ask for
later in other words, about words held out from them.
"""

from __future__ import annotations

from collections.abc import Callable

from corpus.world.choices import Table
from corpus.world.lexicon import (
    ADJECTIVE_TABLE,
    CLASSIFIED_TABLE,
    DAYS,
    DEED_TABLE,
    MONTHS,
    NOUN_TABLE,
    NUMBERS,
    PORTABLE_TABLE,
    SEASONS,
    VERB_TABLE,
    Noun,
    alphabetical,
)
from corpus.world.page import Page, Told
from corpus.world.people import person, village

SUMS = Table([(a, b) for a in range(1, 10) for b in range(1, 10) if a + b <= 10])

# Lists that go on in one way: every three neighbours, and the one that comes after them
ORDERS = [NUMBERS[1:13], DAYS, MONTHS, SEASONS]
CHAINS = Table([tuple(order[i : i + 4]) for order in ORDERS for i in range(len(order) - 3)])

Asked = Callable[[Page], None]

_PLURAL = Table(
    [
        '"What is the plural of {noun}?" "{noun.Plural}."',
        '"Give the plural of the word {noun}." "{noun.Plural}."',
        '"One {noun}, and more than one?" "Two {noun.plural}."',
        '"Here is {noun.a}. Here are many …?" "Many {noun.plural}."',
    ]
)
_PAST = Table(
    [
        '"What is the past tense of {verb}?" "{verb.Past}."',
        '"Give the past tense of the word {verb}." "{verb.Past}."',
        '"Today I {verb}, and yesterday?" "Yesterday I {verb.past}."',
    ]
)
_OPPOSITE = Table(
    [
        '"What is the opposite of {adjective}?" "{adjective.Opposite}."',
        '"Give the opposite of the word {adjective}." "{adjective.Opposite}."',
        '"If it is not {adjective}, what is it?" "Then it is {adjective.opposite}."',
    ]
)
_CATEGORY = Table(
    [
        '"What kind of thing is {noun.a}?" "{category}."',
        '"Name the category of the word {noun}." "{category}."',
        '"Is {noun.a} {wrong}?" "No, it is {noun.a_category}."',
        '"Is {noun.a} {noun.a_category}?" "Yes, it is {noun.a_category}."',
    ]
)
_SUM = Table(
    [
        '"How much is {a} plus {b}?" "{Sum}."',
        '"Add {a} {noun.plural} and {b} {noun.plural}." "{Sum} {noun.plural}."',
        '"How many are {a} and {b} together?" "{Sum}."',
    ]
)
_DIFFERENCE = Table(
    [
        '"How much is {sum} minus {a}?" "{B}."',
        '"Take {a} away from {sum} {noun.plural}. How many are left?" "{B}."',
    ]
)
_NEXT = Table(
    [
        '"What comes next: {chain}?" "{Next}."',
        '"Complete the list: {chain}." "{Next}."',
    ]
)
_NEXT_THING = Table(['"Complete the list: {chain}." "{Next}."', '"Which comes after {chain}?" "{Next}."'])
_SORT = Table(
    [
        '"Sort these words by the alphabet: {list}." "{Sorted}."',
        '"Put in the order of the alphabet: {list}." "{Sorted}."',
    ]
)
_COUNT = Table(['"Count the words: {list}." "{Count}."', '"How many words are these: {list}?" "{Count}."'])
_FIRST = Table(['"What is the first word of: {list}?" "{First}."', '"Which word comes first: {list}?" "{First}."'])
_LAST = Table(['"What is the last word of: {list}?" "{Last}."', '"Which word comes last: {list}?" "{Last}."'])
_PASSIVE = Table(
    [
        '"Turn the sentence around: {who} {verb.past} the {thing}." "The {thing} was {verb.participle} by {who}."',
        '"Say it in the passive: {who} {verb.past} the {thing}." "The {thing} was {verb.participle} by {who}."',
    ]
)
_ARTICLED = {category: f"{'an' if category[0] in 'aeiou' else 'a'} {category}" for category in
             sorted({noun.category for noun in CLASSIFIED_TABLE.items})}  # fmt: skip
_CATEGORIES = Table(sorted(_ARTICLED))


def _plural(page: Page) -> None:
    page.let(noun=NOUN_TABLE).write(_PLURAL)


def _past(page: Page) -> None:
    page.let(verb=VERB_TABLE).write(_PAST)


def _opposite(page: Page) -> None:
    page.let(adjective=ADJECTIVE_TABLE).write(_OPPOSITE)


def _category(page: Page) -> None:
    page.let(
        noun=CLASSIFIED_TABLE,
        category=lambda page: sentence_case(page["noun"].a_category),
        wrong=lambda page: _ARTICLED[page.choices.pick(_CATEGORIES, {page["noun"].category})],
    ).write(_CATEGORY)


def _sum(page: Page) -> None:
    numbers(page).write(_SUM)


def _difference(page: Page) -> None:
    numbers(page).write(_DIFFERENCE)


def numbers(page: Page) -> Page:
    """Slots {a}, {b} and {sum} (and Sum, B) in words, a + b = sum <= 10, and a {noun} to count."""

    def part(i: int) -> Callable[[Page], str]:
        return lambda page: NUMBERS[(*page["sum_of"], sum(page["sum_of"]))[i]]

    return page.let(
        sum_of=SUMS, noun=NOUN_TABLE, a=part(0), b=part(1), sum=part(2),
        Sum=lambda page: page["sum"].capitalize(), B=lambda page: page["b"].capitalize(),
    )  # fmt: skip


def _next(page: Page) -> None:
    page.let(
        whole=CHAINS,
        chain=lambda page: ", ".join(page["whole"][:3]),
        Next=lambda page: sentence_case(page["whole"][3]),
    ).write(_NEXT)


_STARTS = Table([1, 2, 3, 4, 5])


def _next_thing(page: Page) -> None:
    page.let(
        noun=NOUN_TABLE,
        start=_STARTS,
        chain=Told(_three),
        Next=lambda page: sentence_case(page["noun"].many(page["start"] + 3)),
    ).write(_NEXT_THING)


def _three(page: Page) -> None:
    page.emit(", ".join(page["noun"].many(page["start"] + i) for i in range(3)))


def _list(fewest: int, most: int) -> Told:
    """Some distinct nouns, chosen one by one; then also what can be asked about them."""

    def tell(page: Page) -> None:
        nouns: list[Noun] = []
        for _ in page.rounds(fewest, most):
            if nouns:
                page.emit(", ")
            nouns.append(page.choices.pick(NOUN_TABLE, nouns))
            page.emit(nouns[-1].word)
        page.let(
            Sorted=sentence_case(", ".join(noun.word for noun in alphabetical(nouns))),
            Count=NUMBERS[len(nouns)].capitalize(),
            First=nouns[0].Word,
            Last=nouns[-1].Word,
        )

    return Told(tell)


def _passive(page: Page) -> None:
    page.let(who=person, verb=DEED_TABLE, thing=PORTABLE_TABLE).write(_PASSIVE)


def sentence_case(text: str) -> str:
    return text[0].upper() + text[1:]


def _over(table: Table[str], fewest: int, most: int) -> Asked:
    words = _list(fewest, most)

    def asked(page: Page) -> None:
        page.let(list=words).write(table)

    return asked


EXERCISES: Table[Asked] = Table(
    [_plural, _past, _opposite, _category, _sum, _difference, _next, _next_thing, _over(_SORT, 2, 3),
     _over(_COUNT, 2, 4), _over(_FIRST, 2, 4), _over(_LAST, 2, 4), _passive],
    [3, 2, 3, 3, 2, 2, 1, 1, 2, 1, 1, 1, 2],
)  # fmt: skip
_DAYS = Table(DAYS)
_OPENINGS = Table(
    [
        "In the school of {village}, {teacher} asked and {pupil} answered.",
        "{teacher} was the teacher in {village}, and {pupil} knew every answer.",
        "On {day} {pupil} had a lesson with {teacher}.",
        "{pupil} learned from {teacher}, who liked to ask.",
    ]
)
_ENDINGS = Table(
    [
        '"Well done," said {teacher}.',
        '"That is right," said {teacher}, and {pupil} was proud.',
        "Then the bell rang, and {pupil} went home.",
        "Then the lesson was over.",
        "So {pupil} learned {n} things that day.",
    ]
)


def lesson(page: Page) -> None:
    """A document: some questions of a teacher, and a pupil's answers."""
    page.let(village=village, teacher=person, pupil=person, day=_DAYS).write(_OPENINGS)
    asked = 0
    for _ in page.rounds(5, 9):
        page.end_line()
        page.choices.pick(EXERCISES)(page)
        asked += 1
    page.end_line().let(n=NUMBERS[asked]).write(_ENDINGS)
