"""The thirteen kinds of tasks: for each, a function that draws an instruction, its input and its one right answer.

They ask about the words and scenes of the stories, in words that the lessons there use, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from corpus.world.choices import Table
from corpus.world.held_out import KINDS, Draw
from corpus.world.lessons import CHAINS, SUMS
from corpus.world.lexicon import (
    ADJECTIVES,
    CLASSIFIED,
    COLOURS,
    DEEDS,
    DOINGS,
    NOUNS,
    NUMBERS,
    PORTABLE,
    VERBS,
    alphabetical,
)
from corpus.world.page import Page
from corpus.world.people import COMMON, PLACES
from corpus.world.scenes import CHECKS, PARTS, QUESTIONS, SIGHTS, Question


@dataclass(frozen=True)
class Task:
    """`unit` is what is held out as a whole: the text asked about, or the kind with its words."""

    instruction: str
    input: str
    output: str
    unit: tuple[str, ...]


def _about_words(
    draw: Draw, words: Sequence[Any], one: Sequence[str], many: Sequence[str]
) -> tuple[list[Any], str, str]:
    """One word or two, and how they are asked about: in the instruction, or in the input."""
    found = draw.words(words, draw.of(1, 2))
    names = ", ".join(word.word for word in found)
    asked = draw.of(*(one if len(found) == 1 else many))
    given = f"The word is {names}." if len(found) == 1 else f"The words are {names}."
    return found, asked.format(names), "" if "{}" in asked else given


def _forms(
    draw: Draw, words: Sequence[Any], form: Callable[[Any], str], one: Sequence[str], many: Sequence[str]
) -> Task:
    found, instruction, given = _about_words(draw, words, one, many)
    answer = ", ".join(form(word) for word in found) + "."
    return Task(instruction, given, answer, (draw.kind, *(word.word for word in found)))


def plural(draw: Draw) -> Task:
    return _forms(
        draw, NOUNS, lambda noun: noun.plural,
        ("What is the plural of {}?", "Give the plural of the word {}.", "Give the plural of the word.",
         "One {}, and more than one?"),
        ("Give the plural of the words {}.", "Give the plural of the words.", "What is the plural of {}?"),
    )  # fmt: skip


def past_tense(draw: Draw) -> Task:
    return _forms(
        draw, VERBS, lambda verb: verb.past,
        ("What is the past tense of {}?", "Give the past tense of the word {}.", "Give the past tense of the word."),
        ("Give the past tense of the words {}.", "Give the past tense of the words.",
         "What is the past tense of {}?"),
    )  # fmt: skip


def opposite(draw: Draw) -> Task:
    return _forms(
        draw, ADJECTIVES, lambda adjective: adjective.opposite,
        ("What is the opposite of {}?", "Give the opposite of the word {}.", "Give the opposite of the word.",
         "If it is not {}, what is it?"),
        ("Give the opposite of the words {}.", "Give the opposite of the words.", "What is the opposite of {}?"),
    )  # fmt: skip


def category(draw: Draw) -> Task:
    return _forms(
        draw, CLASSIFIED, lambda noun: noun.a_category,
        ("What kind of thing is the word {}?", "Name the category of the word {}.", "Name the category of the word."),
        ("Name the category of the words {}.", "Name the category of the words."),
    )  # fmt: skip


def _list(
    draw: Draw, n: int, asked: Sequence[str], words: Sequence[Any], key_at: int | None = None
) -> tuple[list[Any], str, str]:
    """n words, and how they are asked about."""
    found = draw.words(words, n, key_at)
    names = ", ".join(word.word for word in found)
    instruction = draw.of(*asked)
    return found, instruction.format(names), "" if "{}" in instruction else f"The words are {names}."


def sorting(draw: Draw) -> Task:
    nouns, instruction, given = _list(
        draw, draw.of(2, 3),
        ("Sort these words by the alphabet: {}.", "Put in the order of the alphabet: {}.",
         "Sort the words by the alphabet."),
        NOUNS,
    )  # fmt: skip
    answer = ", ".join(noun.word for noun in alphabetical(nouns)) + "."
    return Task(instruction, given, answer, (draw.kind, *(noun.word for noun in nouns)))


def counting(draw: Draw) -> Task:
    words, instruction, given = _list(
        draw, draw.of(2, 3, 4),
        ("Count the words: {}.", "How many words are these: {}?", "How many words are there?", "Count the words."),
        _ALL,
    )  # fmt: skip
    answer = NUMBERS[len(words)] + "."
    return Task(instruction, given, answer, (draw.kind, *(word.word for word in words)))


def _sentence(draw: Draw) -> tuple[str, str]:
    """A sentence and its last word, which is the key."""
    who = draw.choices.pick(COMMON).word
    form = draw.of("thing", "quality", "place")
    if form == "quality":
        quality = draw.key(ADJECTIVES).word
        return f"The {draw.word(PORTABLE).word} that {who} {draw.word(DEEDS).past} was {quality}.", quality
    if form == "thing":
        thing = draw.key(PORTABLE).word
        return f"{who} {draw.word(DEEDS).past} the {draw.of(*COLOURS).word} {thing}.", thing
    place = draw.key(PLACES)
    return f"{who} {draw.word(DOINGS).past} {place.at}.", place.word


def first_word(draw: Draw) -> Task:
    if draw.of(True, False):
        begin = draw.key(ADJECTIVES).Word if draw.of(True, False) else ""
        things = draw.word(NOUNS).plural if begin else draw.key(NOUNS).Plural
        text = f"{begin} {things} were {draw.word(DEEDS).participle} by {draw.choices.pick(COMMON).word}.".strip()
        asked = draw.of("What is the first word of the sentence?", "Which word comes first?", "Give the first word.")
        return Task(asked, text, f"{begin or things}.", (text,))
    words, instruction, given = _list(
        draw, draw.of(2, 3, 4), ("What is the first word of: {}?", "Which word comes first: {}?"), _ALL, key_at=0
    )
    return Task(instruction, given, f"{words[0].word}.", (draw.kind, *(word.word for word in words)))


def last_word(draw: Draw) -> Task:
    if draw.of(True, False):
        text, last = _sentence(draw)
        asked = draw.of("What is the last word of the sentence?", "Which word comes last?", "Give the last word.")
        return Task(asked, text, f"{last}.", (text,))
    words, instruction, given = _list(
        draw, draw.of(2, 3, 4), ("What is the last word of: {}?", "Which word comes last: {}?"), _ALL, key_at=-1
    )
    return Task(instruction, given, f"{words[-1].word}.", (draw.kind, *(word.word for word in words)))


def passive(draw: Draw) -> Task:
    who = draw.choices.pick(COMMON).word
    on_verb = draw.of(True, False)
    verb = draw.key(DEEDS) if on_verb else draw.word(DEEDS)
    thing = draw.word(PORTABLE) if on_verb else draw.key(PORTABLE)
    text = f"{who} {verb.past} the {thing.word}."
    asked = draw.of(f"Turn the sentence around: {text}", f"Say it in the passive: {text}", "Say it in the passive.",
                    "Turn the sentence around.")  # fmt: skip
    return Task(asked, "" if text in asked else text, f"the {thing.word} was {verb.participle} by {who}.", (text,))


def _answer(draw: Draw, questions: Sequence[Question]) -> Task:
    """A scene, and a question that turns on the key; the scene's other words are none that are new to the kind."""
    question = draw.of(*questions)
    n = draw.of(2, 3)
    number, other = draw.of(*((i, j) for i in range(n) for j in range(n) if i != j))
    page = Page(draw.choices)
    sentences = []
    keys = {"thing": number, "place": number, "otherthing": other, "otherplace": other}
    slots: dict[str, list[Any]] = {part: [] for part in PARTS}
    for i in range(n):
        for part, words in (("place", PLACES), ("thing", PORTABLE)):
            is_key = question.about.removeprefix("other") == part and keys[question.about] == i
            slots[part].append(draw.key(words) if is_key else draw.word(words, slots[part]))
        slots["who"].append(draw.choices.pick(COMMON, slots["who"]))
        slots["colour"].append(draw.choices.pick(_COLOURS, slots["colour"]))
        page.let(**{part: slots[part][i] for part in PARTS})
        sentences.append(page.filled(draw.choices.pick(SIGHTS)))
    page.let(**{part: slots[part][number] for part in PARTS})
    page.let(**{f"other{part}": slots[part][other] for part in PARTS})
    text = " ".join(sentences)
    asked = draw.of("{}", "Read the text. {}", "Answer from the text. {}").format(page.filled(question.question))
    return Task(asked, text, page.filled(question.answer) + ".", (text,))


_ALL = NOUNS + VERBS + ADJECTIVES
_COLOURS = Table(COLOURS)


def facts(draw: Draw) -> Task:
    return _answer(draw, QUESTIONS)


def yes_or_no(draw: Draw) -> Task:
    return _answer(draw, CHECKS)


def arithmetic(draw: Draw) -> Task:
    a, b = draw.choices.pick(SUMS)
    noun = draw.key(NOUNS)
    if draw.of(True, False):
        asked = draw.of("Add {a} and {b}.", "How much is {a} plus {b}?", "How many are {a} and {b} together?")
        terms, result = {"a": noun.many(a), "b": noun.many(b)}, a + b
    else:
        asked = draw.of("Take {a} away from {b}. How many are left?", "How much is {b} minus {a}?")
        terms, result = {"a": noun.many(a), "b": noun.many(a + b)}, b
    unit = (draw.kind, *terms.values(), str(result))
    return Task(asked.format(**terms), "", noun.many(result) + ".", unit)


def completion(draw: Draw) -> Task:
    asked = draw.of("Complete the list: {}.", "What comes next: {}?", "Which comes after {}?")
    if not draw.combination and draw.of(1, 2, 3, 4) == 1:
        items = draw.choices.pick(CHAINS)
    else:
        start, noun = draw.of(1, 2, 3, 4, 5, 6), draw.key(NOUNS)
        items = tuple(noun.many(start + i) for i in range(4))
    return Task(asked.format(", ".join(items[:3])), "", items[3] + ".", (draw.kind, *items))


_FUNCTIONS = (plural, past_tense, opposite, category, sorting, counting, first_word, last_word, passive, facts,
              yes_or_no, arithmetic, completion)  # fmt: skip
TASKS: dict[str, Callable[[Draw], Task]] = dict(zip(KINDS, _FUNCTIONS, strict=True))
