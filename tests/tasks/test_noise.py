"""Paired comparisons: what must hold for any two models, and cases whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import noise
from tasks.noise import BETTER, NOISE, WORSE, Difference

OTHER_WAY = {BETTER: WORSE, WORSE: BETTER, NOISE: NOISE}
FEW = 200  # resamples
right_or_wrong = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)
documents = st.lists(
    st.tuples(st.floats(0, 500), st.floats(0, 500), st.integers(1, 300)), min_size=1, max_size=30
)  # fmt: skip


def assert_turned_round(there: Difference, back: Difference) -> None:
    assert (there.first, there.second, there.items) == (back.second, back.first, back.items)
    assert there.difference == -back.difference and there.p == back.p
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-9)
    assert there.verdict == OTHER_WAY[back.verdict]
    assert (there.only_first, there.only_second) == (back.only_second, back.only_first)


@settings(max_examples=40, deadline=None)
@given(right_or_wrong)
def test_binary_items_are_antisymmetric(pairs: list[tuple[bool, bool]]) -> None:
    one, two = np.array(pairs).T
    assert_turned_round(noise.binary(one, two, resamples=FEW), noise.binary(two, one, resamples=FEW))


@settings(max_examples=40, deadline=None)
@given(documents)
def test_losses_and_means_are_antisymmetric(rows: list[tuple[float, float, int]]) -> None:
    one, two, tokens = np.array(rows).T
    assert_turned_round(noise.loss(one, two, tokens, resamples=FEW), noise.loss(two, one, tokens, resamples=FEW))
    assert_turned_round(noise.means(one, two, resamples=FEW), noise.means(two, one, resamples=FEW))


@settings(max_examples=40, deadline=None)
@given(documents)
def test_identical_models_are_noise(rows: list[tuple[float, float, int]]) -> None:
    nats, _, tokens = np.array(rows).T
    for same in (
        noise.loss(nats, nats, tokens, resamples=FEW),
        noise.means(nats, nats, resamples=FEW),
        noise.binary(nats > 100, nats > 100, resamples=FEW),
    ):
        assert (same.verdict, same.difference, same.low, same.high, same.p) == (NOISE, 0.0, 0.0, 0.0, 1.0)
        assert same.only_first == same.only_second == 0


@settings(max_examples=40, deadline=None)
@given(right_or_wrong, st.integers(0, 5))
def test_the_same_seed_gives_the_same_verdict(pairs: list[tuple[bool, bool]], seed: int) -> None:
    one, two = np.array(pairs).T
    found = noise.binary(one, two, seed=seed, resamples=FEW)
    assert found == noise.binary(one, two, seed=seed, resamples=FEW)
    assert found.low <= found.difference + 1e-12 or found.items < 10
    assert 0 < found.p <= 1


def test_a_clear_difference_is_seen_and_a_single_item_is_not() -> None:
    one, two = np.repeat([1, 0, 1, 0], [50, 20, 5, 25]), np.repeat([1, 1, 0, 0], [50, 20, 5, 25])
    found = noise.binary(one, two)
    assert found.verdict == BETTER and found.difference == pytest.approx(0.15)
    assert (found.only_first, found.only_second) == (5, 20)
    assert found.p == pytest.approx(2 * sum(math.comb(25, k) for k in range(6)) / 2**25)  # McNemar's, by hand
    assert 0.05 < found.low < 0.15 < found.high < 0.26
    assert noise.binary([0], [1]).verdict == NOISE
    assert noise.means([0.0, 0.0, 0.0], [1.0, 1.0, 1.0]).verdict == NOISE  # 3 of 3 happens by chance


def test_a_lower_loss_is_better_and_long_documents_weigh_more() -> None:
    rng = np.random.default_rng(1)
    tokens = rng.integers(20, 200, 300)
    nats = tokens * rng.uniform(0.5, 1.5, 300)
    found = noise.loss(nats, nats - 0.02 * tokens + rng.normal(0, 0.2, 300), tokens)
    assert found.verdict == BETTER and found.difference == pytest.approx(-0.02, abs=0.003)
    assert found.first == pytest.approx(nats.sum() / tokens.sum())
    assert noise.loss(nats, nats + rng.normal(0, 5, 300), tokens, seed=3).low < 0


def test_by_chance_alone_few_are_called_different() -> None:
    rng = np.random.default_rng(2)
    verdicts = [noise.binary(*(rng.random((2, 200)) < 0.8), resamples=FEW).verdict for _ in range(200)]
    assert verdicts.count(NOISE) >= 185  # 95 % of 200 and more: McNemar's exact test is careful


def test_memory_is_bounded_and_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = np.random.default_rng(3).random((2, 50))
    whole = noise.means(one, two, resamples=FEW)
    monkeypatch.setattr(noise, "DRAWN_AT_ONCE", 60 * 50)
    parts = noise.means(one, two, resamples=FEW)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high))


@pytest.mark.parametrize(
    ("one", "two", "says"),
    [
        ([1, 0], [1], "of the same items"),
        ([], [], "no items that both"),
        ([0.5], [1], "right \\(1\\) or wrong"),
        ([float("nan")], [1], "finite"),
    ],
)
def test_what_cannot_be_compared_is_said(one: list[float], two: list[float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        noise.binary(one, two)


def test_documents_without_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="number of tokens"):
        noise.loss([1.0], [2.0], [0])
