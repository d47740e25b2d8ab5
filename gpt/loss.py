"""Cross-entropy as a sum and a count, so that means can be taken over tokens, never over means of batches.

A last short batch, or rows whose prompt is masked, would otherwise weigh as much as full ones.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

IGNORED = -100  # a target that doesn't count


def language_model_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """logits (B, T, V), targets (B, T) int64 -> sum of nats over the targets that count, and their number, scalars."""
    nats = F.cross_entropy(logits.flatten(0, -2).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    return nats, (targets != IGNORED).sum()


def classification_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """logits (B, n_classes), labels (B,) int64 -> sum of nats and number of rows, scalars."""
    return language_model_loss(logits[:, None], labels[:, None])


def next_token_loss(model: nn.Module, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """For `train` and `evaluate`: the batch is inputs (B, T), targets (B, T) and, for packed rows, positions (B, T)."""
    inputs, targets, *positions = batch
    logits = model(inputs, positions=positions[0]) if positions else model(inputs)
    return language_model_loss(logits, targets)


def answer_loss(model: nn.Module, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """The same where few targets count: of inputs (B, T) only the positions read (B, R) are scored, against targets
    (B, R), so that neither the last block nor the head works for what the loss leaves out (`collate.read_counted`)."""
    inputs, read, targets = batch
    return language_model_loss(model(inputs, read=read), targets)


def next_token_nats(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """For `evaluate`: the batch of `next_token_loss` -> the nats of every target (B, T), 0 where it doesn't count."""
    inputs, targets, *positions = batch
    logits = model(inputs, positions=positions[0]) if positions else model(inputs)
    nats = F.cross_entropy(logits.flatten(0, -2).float(), targets.flatten(), ignore_index=IGNORED, reduction="none")
    return nats.view(targets.shape)


def label_loss(model: nn.Module, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """For `train` and `evaluate`: the batch is tokens (B, T), lengths (B,) and labels (B,)."""
    tokens, lengths, labels = batch
    return classification_loss(model(tokens, lengths), labels)
