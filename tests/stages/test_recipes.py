"""What the recipes compute beside the library: mixtures, rows with room, steps, lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpt.order import MixedOrder
from pipeline.params import load_params
from pipeline.schema import Mixture
from stages.instruct import with_room
from stages.lines import read_lines, write_lines
from stages.sample import Source, write_mixture
from stages.training import evaluations, kept_row, rows_at, steps_of

ROOT = Path(__file__).resolve().parents[2]
PARAMS = load_params(ROOT / "params.yaml").classify


def test_unnamed_sources_weigh_their_tokens(tmp_path):
    sources = [Source("large", 9_000, 90), Source("small", 1_000, 5)]
    write_mixture(tmp_path / "m.json", sources, Mixture(weights={}, alpha=1.0))
    assert json.loads((tmp_path / "m.json").read_text())["shares"] == pytest.approx([0.9, 0.1])
    write_mixture(tmp_path / "m.json", sources, Mixture(weights={"small": 9_000.0}, alpha=1.0))
    assert json.loads((tmp_path / "m.json").read_text())["shares"] == [0.5, 0.5]
    write_mixture(tmp_path / "m.json", sources, Mixture(weights={}, alpha=0.0))
    assert json.loads((tmp_path / "m.json").read_text())["shares"] == [0.5, 0.5]


def test_rows_without_room_for_an_answer_are_left_out():
    rows = {"train": [([1] * 5, [2]), ([1] * 9, [2])], "validation": [([1] * 9, [2])]}
    assert with_room(rows, 10) == rows
    with pytest.raises(ValueError, match=r"validation part leaves room .* shortest has 9 tokens.* rows of 6"):
        with_room(rows, 6)
    assert len(with_room({"train": rows["train"]}, 6)["train"]) == 1


def test_steps_cover_all_epochs_and_every_row_comes_once_an_epoch():
    params = PARAMS.model_copy(update={"epochs": 3, "batch_size": 2, "accumulation_steps": 1})
    order = MixedOrder(1, (7,))
    assert steps_of(params, order) == 9
    seen = [row for step in range(3) for row in rows_at(params, order, step, 0)]
    assert len(set(seen)) == 6
    with pytest.raises(ValueError, match="not one step"):
        steps_of(params.model_copy(update={"accumulation_steps": 100}), order)


def test_the_kept_row_is_the_best_or_the_last():
    history = [{"step": 0, "validation_loss": 3.0}, {"step": 1}, {"step": 2, "validation_loss": 1.0},
               {"step": 4, "validation_loss": 2.0}]  # fmt: skip
    result = type("Result", (), {"history": history})()
    assert [row["step"] for row in evaluations(result)] == [0, 2, 4]
    assert kept_row(result, "best")["step"] == 2
    assert kept_row(result, "last")["step"] == 4


def test_lines_come_back(tmp_path):
    rows = [{"text": "a\u2028b", "n": 1}, {"text": "ü\n", "n": 2.5}]
    write_lines(tmp_path / "rows.jsonl", rows)
    assert read_lines(tmp_path / "rows.jsonl") == rows
