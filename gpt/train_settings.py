"""What a training is given, and what comes of it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class TrainSettings:
    """The numbers of one training; ValueError when one is out of range."""

    total_steps: int
    """Updates of the weights."""
    optimizer: str
    """ "adamw", or "muon" for the blocks' matrices with AdamW for the rest."""
    learning_rate: float
    """The highest, reached after the warm-up."""
    min_learning_rate: float
    """What the cosine comes down to; equal to learning_rate: constant."""
    warmup_steps: int
    weight_decay: float
    """On matrices only."""
    beta1: float
    beta2: float
    grad_clip: float
    """The largest norm of all gradients together; 0: not clipped."""
    accumulation_steps: int
    """Micro-batches a step, over all processes."""
    eval_interval: int
    """Steps from one evaluation to the next; there is always one before the first step and one after the last."""
    checkpoint_interval: int
    """Steps from one checkpoint to the next; 0: only at the end, or when asked to stop."""

    def __post_init__(self) -> None:
        least = {"accumulation_steps": 1, "eval_interval": 1}
        for name, value in asdict(self).items():
            if name == "optimizer":
                continue
            if not (math.isfinite(value) and value >= least.get(name, 0)):
                raise ValueError(f"{name} is {value}: it must be at least {least.get(name, 0)}")


@dataclass
class TrainResult:
    """What came of it; the model itself holds the weights."""

    history: list[Row]
    """A row a step: step, tokens so far, loss, learning_rate, gradient_norm, and, where it was evaluated, what
    `evaluate` returned. Nothing in it depends on time or on interruptions."""
    steps: int
    tokens: int
    """Targets that were counted in all updates."""
    best_step: int | None
    best_value: float | None
    seconds: float
    """Time in updates alone, interrupted runs included."""
    resumed_from: int
    """The step of the checkpoint that this run began with; 0: it began afresh."""
