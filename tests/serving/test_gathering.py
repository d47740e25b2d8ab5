"""Concurrent calls share a batch, and each gets what it would have got alone."""

from __future__ import annotations

import threading
from collections.abc import Hashable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.gathering import Gathering


class Work:
    """Doubles numbers; the first call waits until it is let go, so that others gather behind it."""

    def __init__(self) -> None:
        self.batches: list[tuple[Hashable, list[int]]] = []
        self.entered, self.go = threading.Event(), threading.Event()

    def __call__(self, kind: Hashable, items: list[int]) -> list[int]:
        self.batches.append((kind, items))
        self.entered.set()
        assert self.go.wait(10)
        if -1 in items:
            raise ValueError("-1 is not allowed")
        return [2 * item for item in items]


def side_by_side(work: Work, calls: list[tuple[Hashable, list[int]]], most: int) -> list[list[int] | str]:
    """The first call begins to work, the others come while it does; what each got, or its error."""
    gathering: Gathering[int, int] = Gathering(work, most)
    found: list[list[int] | str] = [[] for _ in calls]

    def call(place: int) -> None:
        try:
            found[place] = gathering(*calls[place])
        except ValueError as error:
            found[place] = str(error)

    threads = [threading.Thread(target=call, args=(place,)) for place in range(len(calls))]
    threads[0].start()
    assert work.entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(gathering._waiting) < len(calls) - 1:
        threading.Event().wait(0.001)
    work.go.set()
    for thread in threads:
        thread.join(10)
    return found


def test_calls_that_wait_become_one_of_each_kind() -> None:
    work = Work()
    found = side_by_side(work, [("a", [1]), ("a", [2, 3]), ("b", [4]), ("a", [5])], most=8)
    assert found == [[2], [4, 6], [8], [10]]
    assert len(work.batches) == 3
    assert sorted(len(items) for kind, items in work.batches if kind == "a") == [1, 3]


def test_an_error_reaches_the_batch_it_belongs_to() -> None:
    found = side_by_side(Work(), [("a", [1]), ("b", [-1]), ("a", [2])], most=8)
    assert found == [[2], "-1 is not allowed", [4]]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.lists(st.integers(0, 9), max_size=5)), min_size=1, max_size=6),
    st.integers(1, 6),
)
def test_every_call_gets_its_own_results_whatever_gathers(calls: list[tuple[str, list[int]]], most: int) -> None:
    work = Work()
    found = side_by_side(work, [(kind, items) for kind, items in calls], most)
    assert found == [[2 * item for item in items] for _, items in calls]
    assert all(len(items) <= max(most, 5) for _, items in work.batches)


def test_results_are_lists_also_of_nothing() -> None:
    work = Work()
    work.go.set()
    assert Gathering(work, 4)("a", []) == []


@pytest.mark.parametrize("most", [1, 64])
def test_a_call_larger_than_a_batch_goes_alone(most: int) -> None:
    work = Work()
    work.go.set()
    assert Gathering(work, most)("a", list(range(100))) == [2 * item for item in range(100)]
