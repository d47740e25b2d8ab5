"""Scores: their intervals, and every part of the instructions."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from stages import scoring
from stages.items import read_entries
from stages.lines import write_lines
from tests.stages.conftest import BOOTSTRAP, LABELS, answered, classified


def test_classifiers_come_in_one_order_with_loss_and_interval() -> None:
    found = scoring.classifier_metrics(classified({"lora": 10, "pretrained": 9, "bag_of_words": 5}), LABELS, BOOTSTRAP)
    assert list(found) == ["bag_of_words", "pretrained", "lora"]
    test = found["pretrained"]["test"]
    assert test["accuracy"] == 0.9 and test["accuracy_low"] < 0.9 < test["accuracy_high"]
    assert test["loss"] == pytest.approx(-(9 * math.log(0.8) + math.log(0.4)) / 10)


def test_lora_and_full_tuning_are_compared_message_by_message() -> None:
    found = scoring.lora_beside_full(classified({"lora": 8, "full": 10}), BOOTSTRAP)
    assert found["accuracy_difference"] == pytest.approx(-0.2)
    assert found["accuracy_difference_low"] < -0.2 < found["accuracy_difference_high"] <= 0
    assert scoring.lora_beside_full(classified({"lora": 8}), BOOTSTRAP) == {}


def test_combinations_are_a_part_of_their_own() -> None:
    training = {name: {"validation_loss": 1.0, "trainable_share": 1.0} for name in ("pretrained", "random")}
    found = scoring.answer_metrics(answered({"pretrained": 3, "random": 0}), training, BOOTSTRAP)
    assert set(found["pretrained"]) == {"validation_loss", "trainable_share", "validation", "test", "combinations"}
    assert found["pretrained"]["combinations"]["exact_match"] == 0.5
    assert found["random"]["combinations"]["exact_match_high"] == 0
    kinds = scoring.kind_table(found).set_index(["part", "variant", "kind"])["exact_match"]
    assert kinds["combinations", "pretrained", "plural"] == pytest.approx(2 / 3)
    assert kinds["test", "pretrained", "all"] == 0.5
    assert "validation" not in kinds.index.levels[0]


def test_leaks_are_counted_for_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    entry = {"instruction": "Do.", "input": "", "output": "Done.", "kind": "deed"}
    for data, rows in (("messages", [{"label": "ham", "text": "hi"}]), ("instructions", [entry])):
        (tmp_path / "data/samples" / data).mkdir(parents=True)
        for part in ("train", "validation", "test"):
            write_lines(tmp_path / f"data/samples/{data}/{part}.jsonl", rows)
    assert list(read_entries()) == ["train", "validation", "test"]
    write_lines(tmp_path / "data/samples/instructions/combinations.jsonl", [entry, entry | {"input": "It."}])
    assert scoring.leakage()["instructions"]["combinations"] == {"items": 2, "copies_of_training": 1}
    assert scoring.leakage()["messages"]["test"] == {"items": 1, "copies_of_training": 1}
