"""Which rows make which batch: a pure function of (seed, epoch, position), so that resuming needs no replay.

Sources are mixed by an exponent (chapter 2): source i gets the share p_i = w_i^α / Σ w^α of an epoch. With its size as
its weight and α = 1, each row comes once an epoch. α < 1 raises small sources, whose rows then come more than once
before a large source is through: each source is walked through its own permutations, one after the other, so that
within a source no row comes a third time before each has come twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from gpt.seeds import permutation

GROUP = 50  # batches


@dataclass(frozen=True)
class MixedOrder:
    """The order of rows 0 … n − 1, of which the first sizes[0] are source 0's, the next sizes[1] source 1's, …

    Raises ValueError for an empty source, a weight that isn't positive, or weights that aren't one a source.
    """

    seed: int
    sizes: tuple[int, ...]
    weights: tuple[float, ...] | None = None
    """One a source; None: its size."""
    alpha: float = 1.0
    """α: 1 keeps the weights' proportions, towards 0 all sources become equal."""

    def __post_init__(self) -> None:
        if len(self.raw_weights) != len(self.sizes):
            raise ValueError(f"{len(self.raw_weights)} weights for {len(self.sizes)} sources: one each")
        if any(size < 1 for size in self.sizes) or any(weight <= 0 for weight in self.raw_weights):
            raise ValueError(f"sources of {self.sizes} rows with weights {self.raw_weights}: all must be positive")
        if self.alpha < 0:
            raise ValueError(f"a mixture's alpha of {self.alpha}: it must be at least 0")

    @property
    def raw_weights(self) -> tuple[float, ...]:
        return self.weights if self.weights is not None else tuple(float(size) for size in self.sizes)

    @property
    def shares(self) -> tuple[float, ...]:
        """p_i, which sum to 1."""
        powers = [weight**self.alpha for weight in self.raw_weights]
        return tuple(power / sum(powers) for power in powers)

    @property
    def counts(self) -> tuple[int, ...]:
        """Rows of each source in an epoch; together as many as there are rows (largest remainders round up)."""
        wanted = [share * sum(self.sizes) for share in self.shares]
        counts = [int(x) for x in wanted]
        by_remainder = sorted(range(len(counts)), key=lambda i: (counts[i] - wanted[i], i))
        for i in by_remainder[: sum(self.sizes) - sum(counts)]:
            counts[i] += 1
        return tuple(counts)

    def batches_per_epoch(self, batch_size: int) -> int:
        """Full batches in an epoch: the last few rows of its order are left out. ValueError if there is none."""
        if not 1 <= batch_size <= sum(self.sizes):
            raise ValueError(
                f"a batch of {batch_size} rows from {sum(self.sizes)}: the batch size must be at least 1 and at most "
                "the number of rows (windows, messages or instructions) there are to train on"
            )
        return sum(self.sizes) // batch_size

    def batch(self, number: int, batch_size: int) -> np.ndarray:
        """The rows (batch_size,) of batch 0, 1, 2, … of an endless training."""
        epoch, position = divmod(number, self.batches_per_epoch(batch_size))
        return epoch_order(self.seed, epoch, self.sizes, self.counts)[position * batch_size :][:batch_size]


@dataclass(frozen=True)
class ByLength:
    """An order whose batches hold rows of nearly one length, so that little is padding: of every `GROUP` batches the
    rows are sorted by length and dealt out anew, then those batches are shuffled. Each row comes as often as before."""

    order: MixedOrder
    lengths: tuple[int, ...]
    """One a row."""

    @cached_property
    def _lengths(self) -> np.ndarray:
        return np.array(self.lengths)

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.order.sizes

    def batches_per_epoch(self, batch_size: int) -> int:
        return self.order.batches_per_epoch(batch_size)

    def batch(self, number: int, batch_size: int) -> np.ndarray:
        """The rows (batch_size,) of batch 0, 1, 2, … of an endless training."""
        epoch, position = divmod(number, self.batches_per_epoch(batch_size))
        group = position // GROUP
        numbers = range(group * GROUP, min((group + 1) * GROUP, self.batches_per_epoch(batch_size)))
        begin = number - position
        rows = np.concatenate([self.order.batch(begin + other, batch_size) for other in numbers])
        rows = rows[np.argsort(self._lengths[rows], kind="stable")].reshape(-1, batch_size)
        shuffled = permutation(len(rows), self.order.seed, "by length", epoch, group)
        chosen: np.ndarray = rows[shuffled[position - numbers[0]]]
        return chosen


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, sizes: tuple[int, ...], counts: tuple[int, ...]) -> np.ndarray:
    """The rows of one epoch in order, int64 (sum of counts,)."""
    rows = []
    offset = 0
    for source, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        rows.append(offset + stretch(seed, source, size, epoch * count, (epoch + 1) * count))
        offset += size
    order = rows[0] if len(rows) == 1 else np.concatenate(rows)[permutation(sum(counts), seed, "mixture", epoch)]
    order.setflags(write=False)
    return order


def stretch(seed: int, source: int, size: int, first: int, last: int) -> np.ndarray:
    """Positions [first, last) of a source's endless chain of permutations."""
    rounds = range(first // size, (last + size - 1) // size)
    chain = [np.empty(0, np.int64), *(permutation(size, seed, "source", source, k) for k in rounds)]
    return np.concatenate(chain)[first - rounds.start * size :][: last - first]
