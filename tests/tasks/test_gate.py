"""The gate: guards first, then better by more than noise on the same items; never on anything else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.params import load_params
from tasks.gate import Guard, compared, decide, guards_of
from tests.tiny import ROOT

PARAMS = load_params(ROOT / "params.yaml")
GATE = PARAMS.promote.model_copy(update={"resamples": 200})
HOLDS, BROKEN = Guard("it is warm", True), Guard("it is dry", False)


def right(answers: list[int]) -> list[dict[str, float]]:
    return [{"correct": answer} for answer in answers]


def decided(challenger: list[int], champion: list[int], *guards: Guard) -> bool:
    return decide("classifier", guards, right(challenger), right(champion), GATE, 1).promoted


bits = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(bits)
def test_never_both_ways_and_only_upwards(pairs: list[tuple[int, int]]) -> None:
    one, two = [list(side) for side in zip(*pairs, strict=True)]
    there, back = decided(one, two), decided(two, one)
    assert not (there and back)
    assert not there or sum(one) > sum(two)


@settings(max_examples=40, deadline=None)
@given(bits)
def test_a_broken_guard_is_final_and_no_difference_is_none(pairs: list[tuple[int, int]]) -> None:
    one, two = [list(side) for side in zip(*pairs, strict=True)]
    assert not decided(one, two, HOLDS, BROKEN)
    assert not decided(one, one, HOLDS)


@settings(max_examples=30, deadline=None)
@given(bits, st.randoms(use_true_random=False))
def test_the_order_of_the_items_decides_nothing_of_the_test(pairs: list[tuple[int, int]], random: Any) -> None:
    mixed = list(pairs)
    random.shuffle(mixed)
    found = [
        compared("classifier", right([a for a, _ in each]), right([b for _, b in each]), GATE, 1)
        for each in (pairs, mixed)
    ]
    assert found[0].p == found[1].p
    assert found[0].difference == pytest.approx(found[1].difference)


def test_one_item_more_is_noise_and_twelve_of_forty_are_not() -> None:
    champion = [1] * 28 + [0] * 12
    assert not decided([1] * 29 + [0] * 11, champion)
    assert decided([1] * 40, champion, HOLDS)
    assert not decided(champion, [1] * 40, HOLDS)


def test_the_first_version_takes_guards_alone() -> None:
    assert decide("assistant", [HOLDS], [], None, GATE, 1).promoted
    refused = decide("assistant", [HOLDS, BROKEN], [], None, GATE, 1)
    assert not refused.promoted
    assert "it is dry" in refused.why


def test_a_base_is_compared_by_nats_per_byte_of_the_same_texts() -> None:
    champion = [{"nats": 10.0 + number % 3, "bytes": 20 + number} for number in range(40)]
    better = [row | {"nats": row["nats"] - 1} for row in champion]
    found = decide("base", [HOLDS], better, champion, GATE, 1)
    assert found.promoted
    assert "nats per byte" in found.why
    assert not decide("base", [HOLDS], champion, better, GATE, 1).promoted
    with pytest.raises(ValueError, match="different texts"):
        compared("base", champion, [row | {"bytes": 5} for row in champion], GATE, 1)
    with pytest.raises(ValueError, match="40 scored items, the challenger 39"):
        compared("base", champion, better[1:], GATE, 1)


METRICS = {
    "uniform_loss": 7.0,
    "language": {"pretrained": {"validation": {"loss": 0.7}, "test": {"loss": 99.0}}},
    "classify": {
        "pretrained": {"validation": {"accuracy": 0.9}, "test": {"accuracy": 0.0}},
        "lora": {"validation": {"accuracy": 0.3}, "test": {"accuracy": 1.0}},
    },
    "instruct": {"pretrained": {"validation": {"exact_match": 0.8}, "test": {"exact_match": 0.0}}},
    "leakage": {
        "messages": {"validation": {"items": 100, "copies_of_training": 0}},
        "instructions": {"test": {"items": 100, "copies_of_training": 2}},
    },
}


@pytest.mark.parametrize(
    ("name", "kind", "holds"),
    [
        ("base", "base", [True]),
        ("classifier", "classifier", [True, True]),
        ("classifier-lora", "classifier", [True, False]),
        ("assistant", "assistant", [False, True]),
    ],
)
def test_guards_read_leakage_and_validation_scores_only(name: str, kind: str, holds: list[bool]) -> None:
    assert [guard.holds for guard in guards_of(name, kind, METRICS, PARAMS)] == holds
