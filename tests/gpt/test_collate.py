"""Padding, buckets, and the instruction collate with its published figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from gpt.collate import bucket_width, buckets_up_to, instruction_batch, pad_rows, read_counted
from gpt.config import GPTConfig
from gpt.loss import IGNORED, answer_loss, language_model_loss, next_token_loss
from gpt.model import GPT
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


ANSWERS: list[tuple[list[int], list[int]]] = [([1, 2, 3, 4], [5, 6]), ([7], []), ([8, 9], [10, 11, 12]), ([3] * 9, [1])]


def test_read_counted_says_where_targets_count() -> None:
    batch = instruction_batch(ANSWERS, 0, mask_prompt=True, max_length=8)
    inputs, read, targets = read_counted(*batch)
    assert inputs is batch[0]
    assert targets.tolist() == [[5, 6, 0, IGNORED], [0, *[IGNORED] * 3], [10, 11, 12, 0], [IGNORED] * 4]
    assert read[:3].tolist()[0][:3] == [3, 4, 5] and read[1, 0] == 0 and read[2].tolist() == [1, 2, 3, 4]
    assert read_counted(*batch, buckets=(6, 8))[1].shape == (4, 6)
    nothing = torch.full((2, 3), IGNORED)
    assert read_counted(nothing, nothing)[1].shape == (2, 1)


def test_reading_only_what_counts_changes_neither_loss_nor_gradient() -> None:
    found = []
    for loss, batch in (
        (next_token_loss, instruction_batch(ANSWERS, 0, mask_prompt=True)),
        (answer_loss, read_counted(*instruction_batch(ANSWERS, 0, mask_prompt=True), buckets=(6, 10))),
    ):
        model = GPT(GPTConfig(13, 16, 16, 2, 3, 0.0, tie_embeddings=True), torch.Generator().manual_seed(1))
        nats, count = loss(model, batch)
        nats.backward()  # type: ignore[no-untyped-call]
        found.append((nats, count, {name: p.grad for name, p in model.named_parameters()}))
    (nats, count, gradients), (other, counted, others) = found
    assert count == counted == 3 + 1 + 4 + 2
    torch.testing.assert_close(other, nats)
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, msg=name)
