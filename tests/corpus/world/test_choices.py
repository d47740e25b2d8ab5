"""Choices: uniform, weighted and exactly priced, the same on every platform."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.world.choices import PICO, Choices, Table, ln


def test_the_stream_is_pinned():
    choices = Choices(123, "test", 0)
    assert [choices.below(1000) for _ in range(8)] == STREAM


STREAM = [749, 257, 267, 521, 998, 852, 944, 573]


def test_a_certain_choice_costs_nothing():
    choices = Choices(1)
    assert choices.pick(Table(["only"])) == "only"
    assert choices.pick(Table(["one", "other"]), but=["one"]) == "other"
    assert choices.cost == 0


def test_a_choice_costs_minus_ln_of_its_share():
    choices = Choices(1)
    table = Table(["a", "b", "c"], [1, 2, 5])
    item = choices.pick(table)
    assert choices.nats == pytest.approx(-math.log(table.weights[item] / 8), abs=1e-11)
    before = choices.nats
    other = choices.pick(table, but=[item])
    left = 8 - table.weights[item]
    assert choices.nats - before == pytest.approx(-math.log(table.weights[other] / left), abs=1e-11)


def test_picks_follow_the_weights():
    choices = Choices(2)
    table = Table(["a", "b", "c"], [1, 2, 5])
    counts = dict.fromkeys(table.items, 0)
    for _ in range(8000):
        counts[choices.pick(table)] += 1
    for item, count in counts.items():
        expected = 1000 * table.weights[item]
        assert abs(count - expected) < 5 * math.sqrt(expected)


@given(st.integers(1, 10**9))
def test_logarithms_are_rounded_to_the_last_unit(n):
    assert abs(ln(n) / PICO - math.log(n)) < 1e-11


@pytest.mark.parametrize(("items", "weights"), [([], None), (["a", "a"], None), (["a"], [0]), (["a", "b"], [1])])
def test_a_table_that_would_misprice_is_refused(items, weights):
    with pytest.raises(ValueError):
        Table(items, weights)
