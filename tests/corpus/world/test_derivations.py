"""No text comes about in two ways, so that the price of its choices is -ln of its probability."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.world.choices import Choices, Table
from corpus.world.derivations import derivations, reduced
from corpus.world.lessons import lesson
from corpus.world.letters import letter
from corpus.world.page import Page, another
from corpus.world.scenes import scene
from corpus.world.stories import KINDS, story, tell
from corpus.world.tales import tale


def pets(page: Page) -> None:
    """A grammar small enough to work out by hand."""
    page.let(first=Table(["cat", "dog", "owl"], [2, 1, 1]))
    page.let(second=another(page.slots["first"], "first"))
    page.write(Table(["A {first}.", "A {first} and a {second}."]))


def few(seed: int, two: int) -> Callable[[Table[Any]], int]:
    """Keeps one item of each table, but two of the `two` tables that are met first after a number of others."""
    met: dict[int, int] = {}

    def keep(table: Table[Any]) -> int:
        n = met.setdefault(id(table), len(met))
        return 2 if n % 3 == seed % 3 and n < 3 * two else 1

    return keep


def hidden(page: Page) -> None:
    """An ambiguous one: a choice that the text does not always show."""
    page.choices.pick(Table(["seen", "unseen"]))
    page.write("Nothing.")


def test_the_ways_of_a_text_are_found_with_their_price():
    assert derivations(pets, "A cat.") == [pytest.approx(math.log(4))]
    assert derivations(pets, "A owl and a dog.") == [pytest.approx(math.log(2 * 4 * 3))]
    assert derivations(pets, "A cat and a cat.") == []
    assert derivations(hidden, "Nothing.") == [pytest.approx(math.log(2))] * 2


def test_a_small_world_is_enumerated_whole():
    texts = dict(reduced(pets, 0, keep=len))
    assert len(texts) == 3 + 6
    assert sum(texts.values()) == 1
    assert float(texts["A cat and a owl."]) == pytest.approx(1 / 2 * 2 / 4 * 1 / 2)


@pytest.mark.parametrize("i", range(6))
def test_a_document_has_one_derivation_and_its_price(i):
    one = story(123, i)
    assert derivations(tell, one.text) == [pytest.approx(one.nats, abs=1e-6)]


@pytest.mark.parametrize("kind", [tale, lesson, scene, letter])
def test_each_kind_has_one_derivation(kind):
    page = Page(Choices(9, kind.__name__))
    kind(page)
    assert derivations(kind, page.text) == [pytest.approx(page.choices.nats, abs=1e-6)]


@pytest.mark.parametrize("kind", KINDS.items)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=5, deadline=None)
def test_no_two_derivations_of_a_reduced_world_agree(kind, seed):
    """Each table keeps one item, and a few of them, others for each seed, two."""
    found = list(islice(reduced(kind, seed, few(seed, 5)), 1500))
    texts = [text for text, _ in found]
    assert len(set(texts)) == len(texts) > 1
    if len(found) < 1500:
        assert sum(probability for _, probability in found) == 1
