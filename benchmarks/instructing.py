"""Instruction tuning: the instruct stage's own training beside the same training on plainly padded batches.

Padded as the book does it: instructions in any order, a batch as wide as its longest; and, beside that, with the very
batches of the stage, all as wide as the longest instruction, which ends at the same loss, up to rounding. Both compute
every position through the whole model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from copy import deepcopy

import torch
from torch import nn

from benchmarks.chapters import base, encoding, instructions, stage_of
from benchmarks.measure import interleaved
from benchmarks.shapes import SEED
from benchmarks.table import Goal, Row
from benchmarks.topics import Options
from benchmarks.worker import Worker
from gpt.collate import instruction_batch
from gpt.evaluate import mean_loss
from gpt.loss import next_token_loss
from gpt.train import Batch
from pipeline.stage import Stage
from stages.instruct import Rows, encode, train_assistant
from stages.models import runtime_of
from stages.training import fit, kept_row, order_of, rows_at, steps_of

ROUNDS = 5
TRAINED_ON, MEASURED_ON = 2_000, 64  # entries


def given() -> dict[str, Rows]:
    template = stage_of("instruct").params.instruct.template
    counts = {"train": TRAINED_ON, "validation": MEASURED_ON}
    return {part: encode(encoding(), instructions(count, part), template) for part, count in counts.items()}


def short() -> Stage:
    return stage_of("instruct", epochs=1)


def ours() -> Callable[[], list[float]]:
    """One epoch; answer tokens that were learned from, and the validation loss at the end."""
    data, start = given(), base(SEED)

    def whole() -> list[float]:
        model = deepcopy(start)
        result = train_assistant(short(), model, data, encoding(), "bench")
        return [result.tokens, kept_row(result, "last")["validation_loss"]]

    return whole


def plain(same_batches: bool) -> Callable[[], list[float]]:
    """The stage's batches, all of one width, or batches in any order, as wide as their longest row; the same loop."""
    data, start = given(), base(SEED)
    end = encoding().eot_token
    lengths = {part: [len(prompt) + len(answer) for prompt, answer in data[part]] for part in data}
    widths = [max(lengths["train"] + lengths["validation"])] if same_batches else None

    def collate(chosen: Rows) -> tuple[torch.Tensor, ...]:
        return instruction_batch(chosen, end, mask_prompt=True, buckets=widths)

    def whole() -> list[float]:
        stage = short()
        params = stage.params.instruct
        model = deepcopy(start)
        grouped = order_of(stage, "instructions", lengths["train"])
        order = grouped if same_batches else grouped.order
        total_steps = steps_of(params, order)
        runtime = runtime_of(stage, model)
        starts = range(0, MEASURED_ON, params.batch_size)
        held_out = [collate(data["validation"][start : start + params.batch_size]) for start in starts]

        def batch(step: int, micro: int) -> Batch:
            return collate([data["train"][row] for row in rows_at(params, order, step, micro)])

        def evaluate(module: nn.Module) -> dict[str, float]:
            return {"validation_loss": mean_loss(module, next_token_loss, held_out, runtime)[0]}

        result = fit(
            stage,
            model,
            params,
            runtime,
            total_steps=total_steps,
            batch=batch,
            loss=next_token_loss,
            evaluate=evaluate,
            variant="plain",
            unit="answer_tokens",
        )
        return [result.tokens, kept_row(result, "last")["validation_loss"]]

    return whole


PADDED = {True: "the same batches, all as wide as the longest", False: "batches in any order, padded"}


def rows(options: Options) -> Iterator[Row]:
    with ExitStack() as stack:
        here = stack.enter_context(Worker("benchmarks.instructing:ours"))
        peers = {
            told: stack.enter_context(Worker("benchmarks.instructing:plain", same_batches=same))
            for same, told in PADDED.items()
        }
        found = interleaved({"ours": here, **peers}, ROUNDS)
    tokens, loss = here.value
    for told, peer in peers.items():
        peer_tokens, peer_loss = peer.value
        pace = f"{tokens / found['ours'].least:,.0f} answer tokens/s, padded {peer_tokens / found[told].least:,.0f}"
        note = f"{pace}; validation loss {loss:.4f}, padded {peer_loss:.4f}"
        work = f"nano, {TRAINED_ON:,} of the default's instructions, by the time for {tokens:,.0f} answer tokens"
        yield Row(work, found["ours"], told, found[told].per(peer_tokens / tokens), Goal(2.0), note)
