"""What lora and classify share: messages as padded rows, the classifier's training, and its answers item by item."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken
import torch
from torch import nn

from gpt.evaluate import classifier_probabilities, row_probabilities
from gpt.frozen import padded_rows
from gpt.heads import Classifier
from gpt.loss import label_loss
from gpt.train import TrainResult
from pipeline import schema
from pipeline.stage import Stage
from stages.lines import read_lines
from stages.models import runtime_of
from stages.training import fit, order_of, rows_at, steps_of, tokens_per_step

MESSAGES = Path("data/samples/messages")
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Messages:
    """One part: texts, their tokens (cut to the longest allowed) and their classes as numbers."""

    texts: list[str]
    rows: list[list[int]]
    classes: torch.Tensor  # (N,) int64


@dataclass(frozen=True)
class MessageData:
    parts: Mapping[str, Messages]
    labels: list[str]
    max_length: int
    pad_id: int


def read_messages(encoding: tiktoken.Encoding, max_length: int | None, context_length: int) -> MessageData:
    """The shared split; without a given length, the longest training message's, at most the model's context."""
    labels = json.loads((MESSAGES / "labels.json").read_text(encoding="utf-8"))
    lines = {part: read_lines(MESSAGES / f"{part}.jsonl") for part in PARTS}
    tokens = {part: [encoding.encode_ordinary(line["text"]) for line in lines[part]] for part in PARTS}
    longest = min(max_length or max(len(row) for row in tokens["train"]), context_length)
    parts = {
        part: Messages(
            [line["text"] for line in lines[part]],
            [row[:longest] or [encoding.eot_token] for row in tokens[part]],
            torch.tensor([labels.index(line["label"]) for line in lines[part]]),
        )
        for part in PARTS
    }
    return MessageData(parts, labels, longest, encoding.eot_token)


def train_classifier(
    stage: Stage, model: Classifier, params: schema.Training, data: MessageData, variant: str
) -> TrainResult:
    """Cross-entropy on the last real token's logits; validation loss and accuracy at every evaluation."""
    part, validation = data.parts["train"], data.parts["validation"]
    order = order_of(stage, "messages", [len(row) for row in part.rows])
    total_steps = steps_of(params, order)
    runtime = runtime_of(stage, model, total_steps * tokens_per_step(params, data.max_length))
    width = data.max_length if runtime.compile else None  # compiled for one shape, or as wide as its longest row
    runtime.prepare(model)
    learned, measured = (
        padded_rows(model, messages.rows, data.pad_id, params.batch_size, runtime) for messages in (part, validation)
    )

    def batch(step: int, micro: int) -> tuple[torch.Tensor, ...]:
        chosen = rows_at(params, order, step, micro)
        return *learned.batch(chosen, width), part.classes[chosen.tolist()]

    def evaluate(module: nn.Module) -> dict[str, float]:
        probabilities = row_probabilities(module, measured, params.batch_size, runtime)
        return {f"validation_{name}": value for name, value in scores_of(probabilities, validation).items()}

    return fit(
        stage,
        model,
        params,
        runtime,
        total_steps=total_steps,
        batch=batch,
        loss=label_loss,
        evaluate=evaluate,
        variant=variant,
        unit="messages",
    )


def scores_of(probabilities: np.ndarray, messages: Messages) -> dict[str, float]:
    """Mean loss (nats) and accuracy over all of a part's messages; probabilities (N, n_classes)."""
    classes = messages.classes.numpy()
    likelihood = probabilities[np.arange(len(classes)), classes]
    return {
        "loss": float(-np.log(np.maximum(likelihood, 1e-30)).mean()),
        "accuracy": float((probabilities.argmax(axis=1) == classes).mean()),
    }


def predictions(
    stage: Stage, model: Classifier, data: MessageData, batch_size: int, variant: str
) -> list[dict[str, Any]]:
    """Every held-out message with its label, the predicted one and the probabilities."""
    runtime = runtime_of(stage, model)
    found = []
    for part in ("validation", "test"):
        messages = data.parts[part]
        table = classifier_probabilities(model, messages.rows, data.pad_id, batch_size, runtime)
        for index, row in enumerate(table):
            found.append(
                {
                    "variant": variant,
                    "part": part,
                    "index": index,
                    "text": messages.texts[index],
                    "expected": data.labels[int(messages.classes[index])],
                    "predicted": data.labels[int(row.argmax())],
                    "probabilities": {label: float(value) for label, value in zip(data.labels, row, strict=True)},
                }
            )
    return found


def held_out_scores(items: list[dict[str, Any]]) -> dict[str, float]:
    """Accuracy of the validation and of the test part."""
    return {
        f"{part}_accuracy": float(
            np.mean([item["expected"] == item["predicted"] for item in items if item["part"] == part])
        )
        for part in ("validation", "test")
    }
