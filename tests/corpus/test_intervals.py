"""Bootstrap intervals of means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.intervals import mean_interval


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=60))
def test_the_interval_holds_the_mean_and_stays_inside_the_values(values):
    low, high = mean_interval(np.array(values), 100, seed=1)
    assert min(values) <= low <= np.mean(values) + 1e-9
    assert np.mean(values) - 1e-9 <= high <= max(values)


def test_it_agrees_with_the_normal_interval_of_many_items():
    values = np.array([1.0] * 900 + [0.0] * 100)
    low, high = mean_interval(values, 4000, seed=1)
    assert (low, high) == (pytest.approx(0.9 - 1.96 * 0.0095, abs=2e-3), pytest.approx(0.9 + 1.96 * 0.0095, abs=2e-3))


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).random(50)
    assert (
        mean_interval(values, 200, seed=7) == mean_interval(values, 200, seed=7) != mean_interval(values, 200, seed=8)
    )


def test_no_items_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        mean_interval(np.array([]), 100, seed=1)
