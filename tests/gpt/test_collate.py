"""Padding, buckets, and the instruction collate with its published figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from gpt.collate import bucket_width, buckets_up_to, instruction_batch, pad_rows
from gpt.loss import IGNORED, language_model_loss
from gpt.tokenizer import gpt2_encoding

END = 50256


def test_pad_rows() -> None:
    tokens, lengths = pad_rows([[1, 2, 3], [4]], pad_id=9)
    assert tokens.tolist() == [[1, 2, 3], [4, 9, 9]]
    assert lengths.tolist() == [3, 1]
    assert pad_rows([[1]], 9, length=4)[0].tolist() == [[1, 9, 9, 9]]
    with pytest.raises(ValueError, match="1 to 2 are allowed"):
        pad_rows([[1, 2, 3]], 9, length=2)
    with pytest.raises(ValueError, match="rows of 0"):
        pad_rows([[]], 9)


def test_buckets() -> None:
    assert buckets_up_to(200) == (32, 64, 128, 200)
    assert buckets_up_to(16) == (16,)
    assert [bucket_width(n, (32, 64)) for n in (1, 32, 33, 64)] == [32, 32, 64, 64]
    assert bucket_width(33, None) == 33
    with pytest.raises(ValueError, match="the widest allowed is 64"):
        bucket_width(65, (32, 64))


def test_the_published_example() -> None:
    """Three rows of 5, 2 and 3 numbers: the whole rows as answers, as chapter 7 collates them."""
    rows: list[tuple[list[int], list[int]]] = [([], [0, 1, 2, 3, 4]), ([], [5, 6]), ([], [7, 8, 9])]
    inputs, targets = instruction_batch(rows, END)
    assert inputs.tolist() == [[0, 1, 2, 3, 4], [5, 6, END, END, END], [7, 8, 9, END, END]]
    assert targets.tolist() == [
        [1, 2, 3, 4, END],
        [6, END, IGNORED, IGNORED, IGNORED],
        [8, 9, END, IGNORED, IGNORED],
    ]


def test_masked_prompt_length_and_buckets() -> None:
    inputs, targets = instruction_batch([([1, 2, 3], [4, 5]), ([6], [7])], END, mask_prompt=True, buckets=(4, 8))
    assert inputs.shape == targets.shape == (2, 8)
    assert targets[0].tolist() == [IGNORED, IGNORED, 4, 5, END, IGNORED, IGNORED, IGNORED]
    assert targets[1].tolist() == [7, END] + [IGNORED] * 6
    inputs, targets = instruction_batch([([1, 2, 3], [4, 5, 6])], END, max_length=4)
    assert inputs.tolist() == [[1, 2, 3, 4]]
    assert targets.tolist() == [[2, 3, 4, 5]]


def test_the_published_masking_losses() -> None:
    logits = torch.tensor([[[-1.0, 1.0], [-0.5, 1.5], [-0.5, 1.5]]])

    def mean(n: int, targets: list[int]) -> float:
        nats, counted = language_model_loss(logits[:, :n], torch.tensor([targets]))
        return round(nats.item() / int(counted), 4)

    assert mean(2, [0, 1]) == 1.1269
    assert mean(3, [0, 1, 1]) == 0.7936
    assert mean(3, [0, 1, IGNORED]) == 1.1269


def test_the_published_batch_widths(mirror: Path) -> None:
    """With the reference loader's shuffle: seed 123, batches of 8 of the first 935 entries."""
    encoding = gpt2_encoding(mirror / "vocab.bpe", mirror / "encoder.json")
    entries: list[dict[str, str]] = json.loads((mirror / "instruction-data.json").read_text())[:935]
    opening = (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    )

    def row(entry: dict[str, str]) -> tuple[list[int], list[int]]:
        context = f"\n\n### Input:\n{entry['input']}" if entry["input"] else ""
        prompt = f"{opening}\n\n### Instruction:\n{entry['instruction']}{context}\n\n### Response:\n"
        return encoding.encode_ordinary(prompt), encoding.encode_ordinary(entry["output"])

    def collate(rows: list[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
        return instruction_batch(rows, END, max_length=1024)

    torch.manual_seed(123)
    rows: Any = [row(entry) for entry in entries]
    loader: Any = DataLoader(rows, 8, shuffle=True, drop_last=True, collate_fn=collate)
    widths = [inputs.shape[1] for inputs, _ in loader]
    assert widths[:10] == [61, 76, 73, 68, 65, 72, 80, 67, 62, 75]
