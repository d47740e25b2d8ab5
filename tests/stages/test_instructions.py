"""Instructions through sample and instruct: the parts on disk, and answers in the entries' order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corpus.world.instructions import some_instructions
from gpt.config import GPTConfig
from gpt.model import GPT
from gpt.seeds import generator
from gpt.tokenizer import train_encoding
from stages.instruct import answer, batches_by_length
from stages.lines import read_lines
from stages.sample import sample_instructions

FIELDS = {"instruction", "input", "output", "kind"}


def test_a_given_split_has_its_combinations_in_a_file_of_their_own(stage_of: Callable[..., Any]) -> None:
    Path("data/raw/instructions").mkdir(parents=True)
    rows = some_instructions(45, seed=3)
    leak = rows[0] | {"split": "test", "combination": True}
    Path("data/raw/instructions/a.json").write_text(json.dumps([*rows, leak]))
    stage = stage_of("sample", {"sample.instructions.split": "given", "sample.instructions.drop_leaks": True})
    metrics = sample_instructions(stage)
    parts = {path.stem: read_lines(path) for path in stage.out("data/samples/instructions").iterdir()}
    assert {part: len(found) for part, found in parts.items()} == {
        "train": 45, "validation": 3, "test": 3, "combinations": 3
    }  # fmt: skip
    assert all(set(row) == FIELDS for found in parts.values() for row in found)
    assert [row["output"] for row in parts["combinations"]] == [row["output"] for row in rows if row["combination"]]
    assert metrics["combinations_instructions"] == 3
    assert metrics["combinations_instruction_leaks_found"] == 1
    assert metrics["combinations_instruction_copies"] == 0


def test_without_a_split_of_their_own_there_are_three_parts(stage_of: Callable[..., Any]) -> None:
    Path("data/raw/instructions").mkdir(parents=True)
    Path("data/raw/instructions/a.json").write_text(json.dumps(some_instructions(45, seed=3)))
    stage = stage_of("sample", {"sample.instructions.split": "file", "sample.instructions.train_fraction": 0.5})
    metrics = sample_instructions(stage)
    names = sorted(path.stem for path in stage.out("data/samples/instructions").iterdir())
    assert names == ["test", "train", "validation"]
    assert "combinations_instructions" not in metrics


def test_batches_hold_neighbours_in_length_and_every_prompt_once() -> None:
    assert batches_by_length([5, 1, 9, 3, 3], 2) == [[1, 3], [4, 0], [2]]
    assert batches_by_length([], 2) == []


def test_answers_keep_the_entries_order_and_are_what_each_gets_alone(stage_of: Callable[..., Any]) -> None:
    encoding = train_encoding(["Do it again and again, please.", "What is the plural of cat?"], 280)
    config = GPTConfig(encoding.n_vocab, 64, 16, 2, 1, 0.0, 0.02, True, True)
    model = GPT(config, generator=generator(1, "weights"))
    stage = stage_of("instruct", {"instruct.template": "phi3", "instruct.max_new_tokens": 3})
    entries = [
        {"instruction": f"{'Do it again. ' * (i % 3)}What is {i}?", "input": "", "output": str(i), "kind": "deed"}
        for i in range(5)
    ]
    found = answer(stage, model, entries, encoding, "combinations", "random")
    assert [row["reference"] for row in found] == ["0", "1", "2", "3", "4"]
    assert [row["index"] for row in found] == [0, 1, 2, 3, 4]
    assert {row["part"] for row in found} == {"combinations"}
    alone = [answer(stage, model, [entry], encoding, "combinations", "random")[0]["answer"] for entry in entries]
    assert [row["answer"] for row in found] == alone
