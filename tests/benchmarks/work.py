"""Work for a worker process to do."""

from __future__ import annotations

from collections.abc import Callable

import torch


def lists(length: int) -> Callable[[], int]:
    """Makes a list at each call, returns its length."""
    print("what a library prints does not mix with the answers")
    return lambda: len([0] * length)


def failing() -> Callable[[], None]:
    def work() -> None:
        raise ValueError("this work fails")

    return work


def product(side: int, threads: int) -> Callable[[], float]:
    """A matrix product."""
    matrix = torch.ones(side, side)
    return lambda: float((matrix @ matrix)[0, 0]) * threads
