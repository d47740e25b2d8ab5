"""Training a classifier's last block: the classify stage's own training beside the same training done plainly.

Plainly: every block computes every position of every message again in every epoch, and every message is padded to the
longest of all. Both sides meet the same messages in the same steps, and so end at the same loss, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy

import torch
from torch import nn

from benchmarks.chapters import base, messages, stage_of
from benchmarks.measure import interleaved
from benchmarks.shapes import SEED
from benchmarks.table import Goal, Row
from benchmarks.topics import Options
from benchmarks.worker import Worker
from gpt.collate import TokenRows
from gpt.evaluate import evaluating
from gpt.heads import Classifier, select_trainable
from gpt.loss import classification_loss
from gpt.seeds import generator
from gpt.train import Batch
from stages.classifying import scores_of, train_classifier
from stages.models import runtime_of
from stages.training import fit, kept_row, order_of, rows_at, steps_of

ROUNDS = 5


def fresh() -> Classifier:
    model = Classifier.from_gpt(base(SEED), ["ham", "spam"], generator(SEED, "head"))
    select_trainable(model, "last_block")
    return model


def ours() -> Callable[[], float]:
    """Three epochs of the default's messages; the validation loss at the end."""
    data, start = messages(), fresh()

    def whole() -> float:
        stage = stage_of("classify")
        result = train_classifier(stage, deepcopy(start), stage.params.classify, data, "bench")
        return float(kept_row(result, "last")["validation_loss"])

    return whole


def scores_everywhere(model: nn.Module, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Logits (B, n_classes) of each message's last token, after all blocks have worked on all of them."""
    assert isinstance(model, Classifier)
    return model.head(model.hidden(tokens)[torch.arange(len(tokens)), lengths - 1])


def plain_loss(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    tokens, lengths, labels = batch
    return classification_loss(scores_everywhere(model, tokens, lengths), labels)


def plain() -> Callable[[], float]:
    """The same loop, number format, steps and evaluations, with tokens for rows."""
    data, start = messages(), fresh()
    part, validation = data.parts["train"], data.parts["validation"]
    learned, measured = (TokenRows(found.rows, data.pad_id) for found in (part, validation))

    def whole() -> float:
        stage = stage_of("classify")
        params, model = stage.params.classify, deepcopy(start)
        order = order_of(stage, "messages", [len(row) for row in part.rows])
        total_steps = steps_of(params, order)
        runtime = runtime_of(stage, model)

        def batch(step: int, micro: int) -> Batch:
            chosen = rows_at(params, order, step, micro)
            return *learned.batch(chosen, data.max_length), part.classes[chosen.tolist()]

        def evaluate(module: nn.Module) -> dict[str, float]:
            found = []
            with evaluating(module, runtime):
                for begin in range(0, len(measured), params.batch_size):
                    chosen = torch.arange(begin, min(begin + params.batch_size, len(measured))).numpy()
                    logits = scores_everywhere(module, *measured.batch(chosen, data.max_length))
                    found.append(logits.float().softmax(-1))
            scores = scores_of(torch.cat(found).numpy(), validation)
            return {f"validation_{name}": value for name, value in scores.items()}

        result = fit(
            stage,
            model,
            params,
            runtime,
            total_steps=total_steps,
            batch=batch,
            loss=plain_loss,
            evaluate=evaluate,
            variant="plain",
            unit="messages",
        )
        return float(kept_row(result, "last")["validation_loss"])

    return whole


def rows(options: Options) -> Iterator[Row]:
    with Worker("benchmarks.classifying:ours") as here, Worker("benchmarks.classifying:plain") as peer:
        found = interleaved({"ours": here, "peer": peer}, ROUNDS)
    note = f"validation loss {here.value:.4f}, plainly {peer.value:.4f}"
    work = f"nano, last block, {stage_of('classify').params.classify.epochs} epochs of the default's messages"
    yield Row(work, found["ours"], "every block, rows padded to the longest", found["peer"], Goal(5.0), note)
