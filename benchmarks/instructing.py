"""Instruction tuning: the instruct stage's own training beside the same training on plainly padded batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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
from gpt.order import MixedOrder
from gpt.seeds import derive
from gpt.train import Batch, train
from pipeline.stage import Stage
from stages.instruct import Rows, encode, train_assistant
from stages.models import runtime_of
from stages.training import kept_row, rows_at, settings_of, steps_of

ROUNDS = 3
TRAINED_ON, MEASURED_ON = 2_000, 64  # entries


def given() -> dict[str, Rows]:
    template = stage_of("instruct").params.instruct.template
    counts = {"train": TRAINED_ON, "validation": MEASURED_ON}
    return {part: encode(encoding(), instructions(count, part), template) for part, count in counts.items()}


def short() -> Stage:
    return stage_of("instruct", epochs=1)


def ours() -> Callable[[], list[float]]:
    """One epoch; answer tokens that were learned from, and the validation loss at the end."""
    data = given()

    def whole() -> list[float]:
        model = base(SEED)
        result = train_assistant(short(), model, data, encoding(), "bench")
        return [result.tokens, kept_row(result, "last")["validation_loss"]]

    return whole


def plain() -> Callable[[], list[float]]:
    """Batches in any order, as wide as their longest row, every position through the whole model; the same loop."""
    data = given()
    end = encoding().eot_token

    def collate(chosen: Rows) -> tuple[torch.Tensor, ...]:
        return instruction_batch(chosen, end, mask_prompt=True)

    def whole() -> list[float]:
        stage = short()
        params = stage.params.instruct
        model = base(SEED)
        order = MixedOrder(derive(SEED, "instructions"), (len(data["train"]),))
        total_steps = steps_of(params, order)
        runtime = runtime_of(stage, model)
        starts = range(0, MEASURED_ON, params.batch_size)
        held_out = [collate(data["validation"][start : start + params.batch_size]) for start in starts]

        def batch(step: int, micro: int) -> Batch:
            return collate([data["train"][row] for row in rows_at(params, order, step, micro)])

        def evaluate(module: nn.Module) -> dict[str, float]:
            return {"validation_loss": mean_loss(module, next_token_loss, held_out, runtime)[0]}

        result = train(
            model,
            loss=next_token_loss,
            batch=batch,
            settings=settings_of(params, total_steps),
            runtime=runtime,
            seed=SEED,
            evaluate=evaluate,
            keep=params.keep,
        )
        return [result.tokens, kept_row(result, "last")["validation_loss"]]

    return whole


def rows(options: Options) -> Iterator[Row]:
    with Worker("benchmarks.instructing:ours") as here, Worker("benchmarks.instructing:plain") as peer:
        found = interleaved({"ours": here, "peer": peer}, ROUNDS)
    (tokens, loss), (peer_tokens, peer_loss) = here.value, peer.value
    pace = f"{tokens / found['ours'].least:,.0f} answer tokens/s, padded {peer_tokens / found['peer'].least:,.0f}"
    note = f"{pace}; validation loss {loss:.4f}, padded {peer_loss:.4f}"
    work = f"nano, {TRAINED_ON:,} of the default's instructions, by the time for {tokens:,.0f} answer tokens"
    scaled = found["peer"].per(peer_tokens / tokens)
    yield Row(work, found["ours"], "batches in any order, padded", scaled, Goal(2.0), note)
