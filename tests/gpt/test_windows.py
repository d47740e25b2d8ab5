"""Windows, and the order in which they are trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt.order import ByLength, MixedOrder
from gpt.windows import Windows, starts_within, window_starts


@pytest.mark.parametrize(
    ("context_length", "stride", "count"), [(4, 1, 5141), (4, 4, 1286), (256, 128, 39), (256, 256, 20)]
)
def test_published_counts(context_length: int, stride: int, count: int) -> None:
    assert len(window_starts(5145, context_length, stride)) == count


@pytest.mark.parametrize(("tokens", "count"), [(4612, 18), (534, 2)])
def test_published_counts_of_the_character_split(tokens: int, count: int) -> None:
    assert len(window_starts(tokens, 256, 256)) == count


def test_windows_are_views_one_token_apart() -> None:
    tokens = np.arange(100, dtype=np.uint16)
    windows = Windows(tokens, window_starts(100, 8, 8), 8)
    x, y = windows[3]
    assert x.base is tokens
    assert (x.tolist(), y.tolist()) == (list(range(24, 32)), list(range(25, 33)))
    inputs, targets = windows.batch([0, 3])
    assert inputs.dtype == torch.int64
    assert torch.equal(inputs[1], torch.arange(24, 32))
    assert torch.equal(targets, inputs + 1)


def test_the_last_window_has_its_last_target() -> None:
    tokens = np.arange(17)
    assert len(Windows(tokens, [8], 8)) == 1
    with pytest.raises(ValueError, match="need 18 tokens: there are 17"):
        Windows(tokens, [0, 9], 8)
    assert len(Windows(tokens, [], 8)) == 0


def test_windows_stay_in_their_source() -> None:
    starts, sizes = starts_within([(0, 10), (11, 14), (15, 30)], 4, 4)
    assert starts.tolist() == [0, 4, 15, 19, 23]
    assert sizes == (2, 0, 3)


def test_one_source_is_plain_permutations() -> None:
    order = MixedOrder(seed=1, sizes=(7,))
    epochs = [np.concatenate([order.batch(e * 7 + i, 1) for i in range(7)]) for e in range(3)]
    assert all(sorted(epoch.tolist()) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) > 1


def test_incomplete_batches_are_left_out() -> None:
    order = MixedOrder(seed=1, sizes=(18,))
    assert order.batches_per_epoch(4) == 4
    rows = np.concatenate([order.batch(i, 4) for i in range(4)])
    assert len(set(rows.tolist())) == 16
    with pytest.raises(ValueError, match="a batch of 19 rows from 18"):
        order.batch(0, 19)


@given(
    st.lists(st.tuples(st.integers(1, 30), st.floats(0.1, 10)), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.integers(0, 5),
)
def test_mixtures(sources: list[tuple[int, float]], alpha: float, epoch: int) -> None:
    sizes, weights = tuple(size for size, _ in sources), tuple(weight for _, weight in sources)
    order = MixedOrder(3, sizes, weights, alpha)
    n = sum(sizes)
    powers = [weight**alpha for weight in weights]
    assert order.shares == pytest.approx([power / sum(powers) for power in powers])
    assert sum(order.counts) == n
    assert all(abs(count - share * n) < 1 for count, share in zip(order.counts, order.shares, strict=True))
    seen = np.zeros(n, int)
    for e in range(epoch + 1):
        rows = order.batch(e, n)
        assert np.array_equal(rows, MixedOrder(3, sizes, weights, alpha).batch(e, n))
        np.add.at(seen, rows, 1)
    offset = 0
    for size, count in zip(sizes, order.counts, strict=True):
        own = seen[offset : offset + size]
        assert own.sum() == count * (epoch + 1)
        assert own.max() - own.min() <= 1  # each source's own permutations go on from epoch to epoch
        offset += size


@given(st.lists(st.integers(1, 90), min_size=4, max_size=60), st.integers(1, 4), st.integers(0, 3))
def test_rows_by_length_come_once_an_epoch(lengths: list[int], size: int, epoch: int) -> None:
    plain = MixedOrder(7, (len(lengths),))
    order = ByLength(plain, tuple(lengths))
    n = order.batches_per_epoch(size)
    batches = [order.batch(epoch * n + k, size).tolist() for k in range(n)]
    expected = [row for k in range(n) for row in plain.batch(epoch * n + k, size).tolist()]
    assert sorted(row for batch in batches for row in batch) == sorted(expected)
    assert batches == [ByLength(plain, tuple(lengths)).batch(epoch * n + k, size).tolist() for k in range(n)]


def test_batches_by_length_hold_little_padding_in_no_order_of_length() -> None:
    lengths = np.random.default_rng(1).integers(5, 80, 2_000)
    order = ByLength(MixedOrder(7, (2_000,)), tuple(lengths.tolist()))
    batches = [lengths[order.batch(k, 16)] for k in range(125)]
    assert sum(map(sum, batches)) / sum(16 * max(batch) for batch in batches) > 0.95
    means = [batch.mean() for batch in batches[:50]]
    assert means != sorted(means)


def test_by_default_every_row_comes_once_an_epoch() -> None:
    order = MixedOrder(5, (3, 10, 1))
    assert order.counts == (3, 10, 1)
    assert sorted(order.batch(4, 14).tolist()) == list(range(14))


def test_wrong_mixtures_are_refused() -> None:
    with pytest.raises(ValueError, match="1 weights for 2 sources"):
        MixedOrder(0, (3, 3), (1.0,))
    with pytest.raises(ValueError, match="positive"):
        MixedOrder(0, (3, 0))
    with pytest.raises(ValueError, match="alpha"):
        MixedOrder(0, (3,), None, -1.0)
