"""Lessons: a teacher asks about words and numbers, a pupil answers. Each question has one right answer.

A word in an answer is written as it is within a text: in lower case, with a blank before it. So it is the same token
there as in the question, and what a model has to learn about copying is where from, not how each word looks with a
capital. To repeat a list is the plainest of all lessons: it teaches to copy, which finding an answer in a text takes,
too. What is asked here (plurals, past tenses, opposites, kinds of things, sums, orders) is what the instructions ask
for later in other words, about words held out from them.
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
        '"What is the plural of {noun}?" Answer: {noun.plural}.',
        '"Give the plural of the word {noun}." Answer: {noun.plural}.',
        '"One {noun}, and more than one?" Answer: two {noun.plural}.',
        '"Here is {noun.a}. Here are many …?" Answer: many {noun.plural}.',
    ]
)
_PAST = Table(
    [
        '"What is the past tense of {verb}?" Answer: {verb.past}.',
        '"Give the past tense of the word {verb}." Answer: {verb.past}.',
        '"Today I {verb}, and yesterday?" Answer: yesterday I {verb.past}.',
    ]
)
_OPPOSITE = Table(
    [
        '"What is the opposite of {adjective}?" Answer: {adjective.opposite}.',
        '"Give the opposite of the word {adjective}." Answer: {adjective.opposite}.',
        '"If it is not {adjective}, what is it?" Answer: then it is {adjective.opposite}.',
    ]
)
_CATEGORY = Table(
    [
        '"What kind of thing is {noun.a}?" Answer: {category}.',
        '"Name the category of the word {noun}." Answer: {category}.',
        '"Is {noun.a} {wrong}?" Answer: no, it is {noun.a_category}.',
        '"Is {noun.a} {noun.a_category}?" Answer: yes, it is {noun.a_category}.',
    ]
)
_SUM = Table(
    [
        '"How much is {a} plus {b}?" Answer: {sum}.',
        '"Add {a} {noun.plural} and {b} {noun.plural}." Answer: {sum} {noun.plural}.',
        '"How many are {a} and {b} together?" Answer: {sum}.',
    ]
)
_DIFFERENCE = Table(
    [
        '"How much is {sum} minus {a}?" Answer: {b}.',
        '"Take {a} away from {sum} {noun.plural}. How many are left?" Answer: {b}.',
    ]
)
_NEXT = Table(
    [
        '"What comes next: {chain}?" Answer: {next}.',
        '"Complete the list: {chain}." Answer: {next}.',
    ]
)
_NEXT_THING = Table(['"Complete the list: {chain}." Answer: {next}.', '"Which comes after {chain}?" Answer: {next}.'])
_SORT = Table(
    [
        '"Sort these words by the alphabet: {list}." Answer: {sorted}.',
        '"Put in the order of the alphabet: {list}." Answer: {sorted}.',
    ]
)
_COUNT = Table(['"Count the words: {list}." Answer: {count}.', '"How many words are these: {list}?" Answer: {count}.'])
_FIRST = Table(
    ['"What is the first word of: {list}?" Answer: {first}.', '"Which word comes first: {list}?" Answer: {first}.']
)
_LAST = Table(
    ['"What is the last word of: {list}?" Answer: {last}.', '"Which word comes last: {list}?" Answer: {last}.']
)
_ECHO = Table(['"Say after me: {list}." Answer: {echo}.', '"Repeat the words {list}." Answer: {echo}.'])
_PASSIVE = Table(
    [
        '"Turn the sentence around: {who} {verb.past} the {thing}." Answer: {passive}.',
        '"Say it in the passive: {who} {verb.past} the {thing}." Answer: {passive}.',
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
        category=lambda page: page["noun"].a_category,
        wrong=lambda page: _ARTICLED[page.choices.pick(_CATEGORIES, {page["noun"].category})],
    ).write(_CATEGORY)


def _sum(page: Page) -> None:
    numbers(page).write(_SUM)


def _difference(page: Page) -> None:
    numbers(page).write(_DIFFERENCE)


def numbers(page: Page) -> Page:
    """Slots {a}, {b} and {sum} in words, a + b = sum <= 10, and a {noun} to count."""

    def part(i: int) -> Callable[[Page], str]:
        return lambda page: NUMBERS[(*page["sum_of"], sum(page["sum_of"]))[i]]

    return page.let(
        sum_of=SUMS, noun=NOUN_TABLE, a=part(0), b=part(1), sum=part(2),
    )  # fmt: skip


def _next(page: Page) -> None:
    page.let(
        whole=CHAINS,
        chain=lambda page: ", ".join(page["whole"][:3]),
        next=lambda page: page["whole"][3],
    ).write(_NEXT)


_STARTS = Table([1, 2, 3, 4, 5])


def _next_thing(page: Page) -> None:
    page.let(
        noun=NOUN_TABLE,
        start=_STARTS,
        chain=Told(_three),
        next=lambda page: page["noun"].many(page["start"] + 3),
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
            sorted=", ".join(noun.word for noun in alphabetical(nouns)),
            count=NUMBERS[len(nouns)],
            first=nouns[0].word,
            last=nouns[-1].word,
            echo=", ".join(noun.word for noun in nouns),
        )

    return Told(tell)


def _passive(page: Page) -> None:
    def turned(page: Page) -> str:
        return page.filled("the {thing} was {verb.participle} by {who}")

    page.let(who=person, verb=DEED_TABLE, thing=PORTABLE_TABLE, passive=turned).write(_PASSIVE)


def _over(table: Table[str], fewest: int, most: int) -> Asked:
    words = _list(fewest, most)

    def asked(page: Page) -> None:
        page.let(list=words).write(table)

    return asked


EXERCISES: Table[Asked] = Table(
    [_plural, _past, _opposite, _category, _sum, _difference, _next, _next_thing, _over(_SORT, 2, 3),
     _over(_COUNT, 2, 4), _over(_FIRST, 2, 4), _over(_LAST, 2, 4), _over(_ECHO, 3, 7), _passive],
    [3, 3, 3, 3, 4, 4, 1, 1, 3, 1, 2, 2, 4, 2],
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
