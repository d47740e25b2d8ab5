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

from gpt.collate import bucket_width, pad_rows
from gpt.loss import IGNORED, next_token_loss
from gpt.runtime import Runtime

Batch = tuple[Tensor, ...]


class Rows(Protocol):
    """What a language model learns from and is measured on: `Windows` or `PackedDocuments`."""

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int] | np.ndarray) -> Batch:
        """Inputs (B, T), targets (B, T) and whatever else the loss takes, of these rows."""


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
    buckets: Sequence[int] | None = None,
) -> np.ndarray:
    """Rows of token ids -> float32 (N, n_classes), each row summing to 1.

    model(tokens (B, T), lengths (B,)) -> logits (B, n_classes).
    """
    found: list[np.ndarray] = []
    with evaluating(model, runtime):
        for start in range(0, len(rows), batch_size):
            part = [list(row) for row in rows[start : start + batch_size]]
            width = bucket_width(max(len(row) for row in part), buckets)
            filled = part + [part[-1]] * (batch_size - len(part))
            logits = model(*runtime.place(pad_rows(filled, pad_id, width)))
            found.append(logits.float().softmax(dim=-1)[: len(part)].cpu().numpy())
    if not found:
        raise ValueError("there is no row to classify")
    return np.concatenate(found)
