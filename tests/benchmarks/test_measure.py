"""Taking turns, on work that takes no time."""

from __future__ import annotations

import pytest

from benchmarks.measure import Times, interleaved, timed


def test_ways_take_turns_after_the_warm_up():
    calls: list[str] = []
    rounds: list[int] = []

    def way(name: str, seconds: list[float]):
        def once() -> float:
            calls.append(name)
            return seconds.pop(0)

        return once

    ways = {"ours": way("ours", [9.0, 2.0, 1.0, 4.0]), "peer": way("peer", [9.0, 6.0, 8.0, 5.0])}
    found = interleaved(ways, rounds=3, warm_up=1, on_round=rounds.append)
    assert calls == ["ours", "peer", *("ours", "peer"), *("peer", "ours"), *("ours", "peer")]
    assert rounds == [1, 2, 3]
    assert found == {"ours": Times((2.0, 1.0, 4.0)), "peer": Times((6.0, 8.0, 5.0))}
    assert (found["ours"].least, found["ours"].median) == (1.0, 2.0)
    assert found["peer"].per(2.0) == Times((3.0, 4.0, 2.5))


@pytest.mark.parametrize(("ways", "rounds", "warm_up"), [({}, 1, 1), ({"a": lambda: 1.0}, 0, 1), ({"a": float}, 1, -1)])
def test_nothing_to_measure(ways, rounds, warm_up):
    with pytest.raises(ValueError, match="at least 1, 1 and 0 are needed"):
        interleaved(ways, rounds, warm_up)


def test_work_is_repeated_within_one_timing():
    done: list[int] = []
    assert timed(lambda: done.append(1), repeat=3)() >= 0.0
    assert len(done) == 3
