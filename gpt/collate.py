"""Chapter 7: rows of different length made into one rectangle, without padding changing what is learned or predicted.

Padding stands on the right, where no real token can see it. To keep the compiler and the arithmetic to few shapes,
widths can be rounded up to buckets; without buckets a batch is as wide as its longest row, as in the book.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gpt.loss import IGNORED

Row = Sequence[int]


def buckets_up_to(longest: int, smallest: int = 32) -> tuple[int, ...]:
    """Widths that double from `smallest` and end at `longest`: 200 -> (32, 64, 128, 200)."""
    widths = []
    while smallest < longest:
        widths.append(smallest)
        smallest *= 2
    return (*widths, longest)


def bucket_width(length: int, buckets: Sequence[int] | None) -> int:
    """The smallest bucket that holds `length` tokens; `length` itself without buckets. ValueError when none does."""
    if buckets is None:
        return length
    for width in buckets:
        if width >= length:
            return width
    raise ValueError(f"a row of {length} tokens: the widest allowed is {buckets[-1]}; truncate it first")


def pad_rows(rows: Sequence[Row], pad_id: int, length: int | None = None) -> tuple[Tensor, Tensor]:
    """Rows of token ids -> tokens (B, T) int64, padded on the right to the longest row or to `length`; lengths (B,).

    ValueError for a row that is empty, or longer than `length`.
    """
    lengths = [len(row) for row in rows]
    width = max(lengths) if length is None else length
    if min(lengths) < 1 or max(lengths) > width:
        raise ValueError(f"rows of {min(lengths)} to {max(lengths)} tokens: 1 to {width} are allowed")
    tokens = torch.full((len(rows), width), pad_id, dtype=torch.int64)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = torch.tensor(row, dtype=torch.int64)
    return tokens, torch.tensor(lengths, dtype=torch.int64)


class TokenRows:
    """Rows of token ids, of which some at a time stand side by side."""

    def __init__(self, rows: Sequence[Row], pad_id: int) -> None:
        self.rows = rows
        self.pad_id = pad_id
        self.sizes = np.array([len(row) for row in rows], np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, chosen: np.ndarray, width: int | None = None) -> tuple[Tensor, Tensor]:
        """Tokens (B, T) int64 and lengths (B,)."""
        return pad_rows([self.rows[row] for row in chosen.tolist()], self.pad_id, width)


def instruction_batch(
    rows: Sequence[tuple[Row, Row]],
    end_id: int,
    *,
    mask_prompt: bool = False,
    max_length: int | None = None,
    buckets: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Rows of (prompt ids, answer ids) -> inputs (B, T) and targets (B, T), both int64: chapter 7's collate.

    Each row is prompt, answer and end token; targets are one token ahead. The first end token is a target, so that the
    model learns to stop; the padding after it is not, nor, with `mask_prompt`, are the prompt's own tokens.
    max_length cuts the rows. A row can so lose every target; `train` weighs by those that are left.
    """
    kept = [[*prompt, *answer, end_id][: None if max_length is None else max_length + 1] for prompt, answer in rows]
    width = bucket_width(max(len(row) for row in kept) - 1, buckets)
    inputs = torch.full((len(rows), width), end_id, dtype=torch.int64)
    targets = torch.full((len(rows), width), IGNORED, dtype=torch.int64)
    for i, (row, (prompt, _)) in enumerate(zip(kept, rows, strict=True)):
        inputs[i, : len(row) - 1] = torch.tensor(row[:-1], dtype=torch.int64)
        targets[i, : len(row) - 1] = torch.tensor(row[1:], dtype=torch.int64)
        if mask_prompt:
            targets[i, : max(0, len(prompt) - 1)] = IGNORED
    return inputs, targets


def read_counted(
    inputs: Tensor, targets: Tensor, buckets: Sequence[int] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """inputs and targets (B, T) -> inputs, read (B, R), targets (B, R): where each row's counted targets stand.

    R is the most that a row has (at least 1), rounded up to a bucket; what fills up a row reads some place without a
    target. With the prompts masked, R is the longest answer.
    """
    counted = targets != IGNORED
    most = max(1, int(counted.sum(dim=1).max()))
    read = counted.int().argsort(dim=1, descending=True, stable=True)[:, : bucket_width(most, buckets)]
    return inputs, read, targets.gather(1, read)
