"""Taking turns: how long each of several ways takes, measured so that whatever else the machine does hits all alike.

Each way is called once or more to warm up; then rounds follow in which each is timed once, every other round in the
opposite order. The minimum says what the way costs on an undisturbed machine, the median what it usually cost here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

Timed = Callable[[], float]  # does the work once, returns the seconds it took


@dataclass(frozen=True)
class Times:
    """The seconds of each round."""

    seconds: tuple[float, ...]

    @property
    def least(self) -> float:
        return min(self.seconds)

    @property
    def median(self) -> float:
        return median(self.seconds)

    def per(self, units: float) -> Times:
        """Each round's seconds for one of so many units of work."""
        return Times(tuple(value / units for value in self.seconds))


def interleaved(
    ways: Mapping[str, Timed], rounds: int, warm_up: int = 1, on_round: Callable[[int], None] = lambda number: None
) -> dict[str, Times]:
    """Each way's times over so many rounds, in turns. ValueError without a way or a round."""
    if not ways or rounds < 1 or warm_up < 0:
        raise ValueError(f"{len(ways)} ways, {rounds} rounds, {warm_up} to warm up: at least 1, 1 and 0 are needed")
    for way in ways.values():
        for _ in range(warm_up):
            way()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        names = list(ways)[:: 1 if number % 2 == 0 else -1]
        for name in names:
            found[name].append(ways[name]())
        on_round(number + 1)
    return {name: Times(tuple(seconds)) for name, seconds in found.items()}


def timed(work: Callable[[], object], repeat: int = 1) -> Timed:
    """`work` as a way: done `repeat` times in a row, the seconds of one."""

    def once() -> float:
        began = time.perf_counter()
        for _ in range(repeat):
            work()
        return (time.perf_counter() - began) / repeat

    return once
