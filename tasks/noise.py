"""Is a difference between two models more than noise? Both answered the same items, and are compared item by item.

Much of the chance in a score lies in which items were drawn, and both models met the same ones, so that the difference
is far surer than either score. `binary` is for items that are right or wrong (accuracy, exact match), `means` for
graded ones, `loss` for nats per token. Each gives an interval by the paired bootstrap (items drawn again, both models'
scores of an item together) and a p by an exact or randomized test of "the two are the same": McNemar's for binary items
(McNemar, 1947), else random exchanges of the two models item by item (Fisher, 1935), which is the same idea.

A verdict needs both to agree. The interval alone would call a single item a victory; the test alone says nothing of
size. Everything is drawn from the seed: the same items give the same verdict. Differences are second minus first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

BETTER, WORSE, NOISE = "better", "worse", "noise"
CONFIDENCE = 0.95
RESAMPLES = 4000
DRAWN_AT_ONCE = 1 << 21  # items in memory
Values = npt.ArrayLike


@dataclass(frozen=True)
class Difference:
    """The second model beside the first: their scores over `items` pairs, the interval of the difference, p, a verdict.

    `verdict` is about the second: "better", "worse" or "noise". `only_first` and `only_second` count the items that
    just one of them had better (right, of binary items).
    """

    items: int
    first: float
    second: float
    low: float
    high: float
    p: float
    verdict: str
    only_first: int
    only_second: int
    higher_is_better: bool = True
    confidence: float = CONFIDENCE

    @property
    def difference(self) -> float:
        return self.second - self.first


def binary(
    first: Values, second: Values, *, seed: int = 0, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> Difference:
    """Items right (1, True) or wrong (0, False): (N,) of each model, in the same order. p is McNemar's exact one."""
    one, two = _pairs(first, second)
    if not (np.isin(one, (0, 1)).all() and np.isin(two, (0, 1)).all()):
        raise ValueError("items are right (1) or wrong (0): for graded scores there is means()")
    return _judge(one, two, np.ones_like(one), True, mcnemar(one, two), seed, resamples, confidence)


def means(
    first: Values, second: Values, *, higher_is_better: bool = True,
    seed: int = 0, resamples: int = RESAMPLES, confidence: float = CONFIDENCE,
) -> Difference:  # fmt: skip
    """Scores of any size: (N,) of each model, in the same order."""
    one, two = _pairs(first, second)
    p = _exchanges(two - one, seed, resamples)
    return _judge(one, two, np.ones_like(one), higher_is_better, p, seed, resamples, confidence)


def loss(
    first_nats: Values, second_nats: Values, tokens: Values, *,
    seed: int = 0, resamples: int = RESAMPLES, confidence: float = CONFIDENCE,
) -> Difference:  # fmt: skip
    """Nats per token: each model's summed loss of every document (N,), and its tokens (N,), the same for both.

    Whole documents are drawn (their tokens are not independent), and the ratio of sums is taken: long ones weigh more.
    """
    one, two = _pairs(first_nats, second_nats)
    lengths = np.asarray(tokens, dtype=float)
    if lengths.shape != one.shape or not (lengths > 0).all():
        raise ValueError("every document needs its number of tokens, 1 or more")
    p = _exchanges(two - one, seed, resamples)
    return _judge(one, two, lengths, False, p, seed, resamples, confidence)


def mcnemar(first: Values, second: Values) -> float:
    """McNemar's exact p: of the items that just one model has right, could as many be either's by tossing a coin?"""
    one, two = _pairs(first, second)
    only_first, only_second = int((one > two).sum()), int((two > one).sum())
    differing = only_first + only_second
    return float(binomtest(only_first, differing, 0.5).pvalue) if differing else 1.0


def _pairs(first: Values, second: Values) -> tuple[np.ndarray, np.ndarray]:
    one, two = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if one.ndim != 1 or one.shape != two.shape:
        raise ValueError(f"both models need one score an item, of the same items: got {one.shape} and {two.shape}")
    if not len(one):
        raise ValueError("there are no items that both models answered; at least 1 is needed")
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise ValueError("every score must be a finite number")
    return one, two


def _judge(
    one: np.ndarray, two: np.ndarray, weights: np.ndarray, higher_is_better: bool,
    p: float, seed: int, resamples: int, confidence: float,
) -> Difference:  # fmt: skip
    """The interval of (sum two - sum one) / sum weights, and what it means together with p."""
    if resamples < 100 or not 0 < confidence < 1:
        said = f"{resamples} resamples, confidence {confidence}"
        raise ValueError(f"{said}: allowed are 100 resamples and more, and a confidence between 0 and 1")
    total = weights.sum()
    gains = two - one if higher_is_better else one - two
    low, high = _interval(two - one, weights, seed, resamples, confidence)
    verdict = NOISE
    if p < 1 - confidence and (low > 0 or high < 0):
        verdict = BETTER if (low > 0) == higher_is_better else WORSE
    return Difference(
        len(one), float(one.sum() / total), float(two.sum() / total), low, high, p, verdict,
        int((gains < 0).sum()), int((gains > 0).sum()), higher_is_better, confidence,
    )  # fmt: skip


def _interval(
    differences: np.ndarray, weights: np.ndarray, seed: int, resamples: int, confidence: float
) -> tuple[float, float]:
    """The percentile interval; items are drawn with replacement."""
    if not differences.any():
        return 0.0, 0.0
    drawn = np.empty(resamples)
    for part, rng in _batches(len(differences), seed, resamples):
        chosen = rng.integers(0, len(differences), (part.stop - part.start, len(differences)))
        drawn[part] = differences[chosen].sum(axis=1) / weights[chosen].sum(axis=1)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _exchanges(differences: np.ndarray, seed: int, resamples: int) -> float:
    """How often the sum is as far from zero as it is when each item's two scores are exchanged by chance."""
    reached = abs(differences.sum()) * (1 - 1e-9)  # the same sum in another order may differ in its last digits
    as_far = 0
    for part, rng in _batches(len(differences), seed, resamples):
        signs = rng.integers(0, 2, (part.stop - part.start, len(differences)), dtype=np.int8) * 2.0 - 1.0
        as_far += int((np.abs(signs @ differences) >= reached).sum())
    return (as_far + 1) / (resamples + 1)


def _batches(items: int, seed: int, resamples: int) -> Iterator[tuple[slice, Any]]:
    """Parts of the resamples that fit into memory, and the generator that draws them all."""
    rng = np.random.default_rng(seed)
    size = max(1, DRAWN_AT_ONCE // items)
    for start in range(0, resamples, size):
        yield slice(start, min(start + size, resamples)), rng
