"""Measuring a model: mean loss over every counted token, and a classifier's probabilities.

Nothing here draws a random number, changes a parameter, or lets a last, short batch have another shape or weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gpt.collate import TokenRows
from gpt.loss import IGNORED, next_token_loss, next_token_nats
from gpt.runtime import Runtime

Batch = tuple[Tensor, ...]


class Rows(Protocol):
    """What a language model learns from and is measured on: `Windows` or `PackedDocuments`."""

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int] | np.ndarray) -> Batch:
        """Inputs (B, T), targets (B, T) and whatever else the loss takes, of these rows."""


class PaddedRows(Protocol):
    """Rows of different length, some of which a classifier reads side by side: `TokenRows` or `FrozenRows`."""

    @property
    def sizes(self) -> np.ndarray:
        """Each row's length, int64 (N,)."""

    def __len__(self) -> int: ...

    def batch(self, chosen: np.ndarray, width: int | None = None) -> tuple[Tensor, Tensor]:
        """What a classifier takes of these rows, and their lengths (B,); as wide as the longest, or as `width`."""


@contextmanager
def evaluating(model: nn.Module, runtime: Runtime) -> Iterator[None]:
    """Without dropout, gradients or float32 where the runtime says bfloat16; the model's mode comes back afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), runtime.autocast():
            yield
    finally:
        model.train(was_training)


def mean_loss(
    model: nn.Module,
    loss: Callable[[nn.Module, Batch], tuple[Tensor, Tensor]],
    batches: Iterable[Batch],
    runtime: Runtime,
) -> tuple[float, int]:
    """Nats a counted token over all batches, and how many tokens counted. ValueError when none did."""
    compiled = runtime.compiled(loss)
    nats, tokens = 0.0, 0
    with evaluating(model, runtime):
        for batch in batches:
            total, count = compiled(model, runtime.place(batch))
            nats += total.item()
            tokens += int(count.item())
    if tokens == 0:
        raise ValueError("there is no token to evaluate on: the part is shorter than one window, or all is masked")
    return nats / tokens, tokens


def window_loss(
    model: nn.Module, windows: Rows, batch_size: int, runtime: Runtime, max_batches: int | None = None
) -> tuple[float, int]:
    """Nats a token over all rows (or the first `max_batches` batches), and how many; its exp is the perplexity."""
    return mean_loss(model, next_token_loss, window_batches(windows, batch_size, max_batches), runtime)


def text_losses(model: nn.Module, rows: Rows, batch_size: int, runtime: Runtime) -> tuple[np.ndarray, np.ndarray]:
    """Summed nats float64 (N,) and counted targets int64 (N,) of each text: each row, or each of those packed into it.

    In the order in which they stand there, row after row.
    """
    compiled = runtime.compiled(next_token_nats)
    nats: list[np.ndarray] = [np.empty(0)]
    counts: list[np.ndarray] = [np.empty(0, np.int64)]
    with evaluating(model, runtime):
        for batch in window_batches(rows, batch_size):
            _, targets, *positions = batch
            begins = positions[0] == 0 if positions else torch.arange(targets.size(1)).expand_as(targets) == 0
            counted = (targets != IGNORED).numpy().ravel()
            text = ((begins.numpy().ravel() & counted).cumsum() - 1)[counted]
            each = compiled(model, runtime.place(batch)).double().cpu().numpy().ravel()[counted]
            nats.append(np.bincount(text, weights=each))
            counts.append(np.bincount(text))
    return np.concatenate(nats), np.concatenate(counts)


def window_batches(windows: Rows, batch_size: int, max_batches: int | None = None) -> Iterator[Batch]:
    """All rows in order, in batches of one shape: those that fill up the last one have no target."""
    starts = range(0, len(windows), batch_size)
    for start in starts if max_batches is None else starts[:max_batches]:
        rows = np.arange(start, start + batch_size)
        inputs, targets, *others = windows.batch(np.minimum(rows, len(windows) - 1))
        targets[torch.from_numpy(rows >= len(windows))] = IGNORED
        yield inputs, targets, *others


def classifier_probabilities(
    model: nn.Module,
    rows: Sequence[Sequence[int]],
    pad_id: int,
    batch_size: int,
    runtime: Runtime,
) -> np.ndarray:
    """Rows of token ids -> float32 (N, n_classes), each row summing to 1.

    model(tokens (B, T), lengths (B,)) -> logits (B, n_classes).
    """
    return row_probabilities(model, TokenRows(rows, pad_id), batch_size, runtime)


def row_probabilities(model: nn.Module, rows: PaddedRows, batch_size: int, runtime: Runtime) -> np.ndarray:
    """The same of rows that know how to stand side by side. Those of a batch are alike in length: little is padding."""
    if not len(rows):
        raise ValueError("there is no row to classify")
    order = np.argsort(rows.sizes, kind="stable")
    found: list[np.ndarray] = []
    with evaluating(model, runtime):
        for start in range(0, len(rows), batch_size):
            chosen = order[np.minimum(np.arange(start, start + batch_size), len(rows) - 1)]
            found.append(model(*runtime.place(rows.batch(chosen))).float().softmax(dim=-1).cpu().numpy())
    probabilities = np.empty((len(rows), found[0].shape[1]), np.float32)
    probabilities[order] = np.concatenate(found)[: len(rows)]
    return probabilities
