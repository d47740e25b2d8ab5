"""Cross-entropy as a sum and a count, so that means can be taken over tokens, never over means of batches.

A last short batch, or rows whose prompt is masked, would otherwise weigh as much as full ones.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IGNORED = -100  # a target that doesn't count
CHUNK = 1 << 19  # logits at a time: as float32 they stay in the processor's cache


def language_model_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """logits (B, T, V), targets (B, T) int64 -> sum of nats over the targets that count, and their number, scalars."""
    flat, wanted = logits.flatten(0, -2), targets.flatten()
    if logits.device.type == "cpu" and not torch.compiler.is_compiling():
        nats: Tensor = CrossEntropy.apply(flat, wanted)
    else:  # fused by the compiler, or fast enough
        nats = F.cross_entropy(flat.float(), wanted, ignore_index=IGNORED, reduction="sum")
    return nats, (targets != IGNORED).sum()


class CrossEntropy(torch.autograd.Function):
    """F.cross_entropy(reduction="sum") in float32, some rows at a time, its gradient computed on the way.

    torch's own goes over all logits six times, in float32, through memory: 57 ms for 2,560 rows of 2,000 bfloat16
    logits, forward and backward on one core, this 12.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        """logits (N, V), targets (N,) -> scalar, float32."""
        learning = ctx.needs_input_grad[0]
        gradient = torch.empty_like(logits) if learning else None
        nats = torch.zeros((), dtype=torch.float32)
        height = max(1, CHUNK // logits.size(1))
        for begin in range(0, len(targets), height):
            rows = slice(begin, begin + height)
            counted = (targets[rows] != IGNORED)[:, None]
            right = targets[rows].clamp(min=0)[:, None]
            chances = logits[rows].float().log_softmax(-1)
            nats -= chances.gather(1, right).mul_(counted).sum()
            if gradient is not None:  # of -log p(right): p, less 1 at the right one
                chances.exp_().scatter_add_(1, right, torch.full(right.shape, -1.0))
                gradient[rows] = chances.mul_(counted)
        ctx.save_for_backward(gradient)
        return nats

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient if weight == 1 else gradient * weight, None  # 1, where a training begins its way back


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
