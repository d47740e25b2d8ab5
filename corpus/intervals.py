"""How sure a mean over items is: the percentile bootstrap (Efron, 1979), by SciPy."""

from __future__ import annotations

import numpy as np


def mean_interval(values: np.ndarray, resamples: int, seed: int, confidence: float = 0.95) -> tuple[float, float]:
    """(low, high) of the mean of `values` (N,) under resampling of its items; ValueError for no items."""
    if not len(values):
        raise ValueError("there are no items to score; at least 1 is needed")
    if len(values) == 1 or np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    from scipy.stats import bootstrap  # a second to import: whoever needs no interval does not wait for it

    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        batch=256,
        rng=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
