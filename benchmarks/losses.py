"""Time to a loss: the default recipe beside AdamW with warm-up and cosine, on the default's rows, model and machine.

The recipe trains for SIZE steps (300 by default) and ends at some validation loss. AdamW has three times as many steps
and a schedule as long; its peak is the best of those in docs/performance.md. Its time is that of its first evaluation
at or below that loss. It takes the data of `make run`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from torch import nn

from benchmarks.chapters import stage_of
from benchmarks.measure import Times
from benchmarks.shapes import SEED
from benchmarks.table import Goal, Row
from benchmarks.topics import Options
from benchmarks.worker import Worker
from gpt.config import GPTConfig
from gpt.evaluate import window_loss
from gpt.loss import next_token_loss
from gpt.model import GPT
from gpt.seeds import derive, generator
from gpt.tokenizer_files import load_encoding
from gpt.train import Batch, train
from stages.models import runtime_of
from stages.pretrain import TOKENIZER
from stages.training import evaluations, rows_at, settings_of
from stages.windows import SAMPLES, mixed_order, rows_of

STEPS, LONGER = 300, 3
EVERY = 50  # steps, from one evaluation to the next
PEAK = 2e-3  # AdamW's


def ours(steps: int) -> Callable[[], list[Any]]:
    """The recipe of params.yaml, its schedule made as short."""
    return training(steps, {"warmup_steps": steps // 10}, {})


def adamw(steps: int, peak: float) -> Callable[[], list[Any]]:
    """GPT-2's start and the usual schedule: a tenth warm-up, then a cosine down to a tenth."""
    schedule = {"learning_rate": peak, "min_learning_rate": peak / 10, "warmup_steps": steps // 10}
    settings = {"optimizer": "adamw", "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.1, "grad_clip": 1.0}
    return training(steps, {**settings, **schedule}, {"position_init": "normal", "embedding_std": 0.02})


def training(steps: int, changes: dict[str, Any], beginning: dict[str, Any]) -> Callable[[], list[Any]]:
    """(seconds in updates, validation loss) of every evaluation, of a training that begins anew at each call."""

    def whole() -> list[Any]:
        stage = stage_of("pretrain", eval_interval=EVERY, checkpoint_interval=0, **changes)
        params, shape = stage.params.pretrain, stage.params.model.model_dump()
        config = GPTConfig(vocab_size=load_encoding(TOKENIZER).n_vocab, **shape)
        model = GPT(replace(config, **beginning), generator(SEED, "weights"))
        rows = {part: rows_of(part, config.context_length) for part in ("train", "validation")}
        order = mixed_order(derive(SEED, "rows"))
        runtime = runtime_of(stage, model)
        spent = [0.0]

        def batch(step: int, micro: int) -> Batch:
            return rows["train"].batch(rows_at(params, order, step, micro))

        def evaluate(module: nn.Module) -> dict[str, float]:
            loss, _ = window_loss(module, rows["validation"], params.batch_size, runtime, params.eval_batches)
            return {"validation_loss": loss, "seconds": spent[0]}

        def on_step(step: int, numbers: dict[str, float]) -> None:
            tokens = numbers["tokens"] - seen[0]
            seen[0] = numbers["tokens"]
            spent[0] += tokens / numbers["tokens_per_second"]

        seen = [0.0]
        result = train(
            model,
            loss=next_token_loss,
            batch=batch,
            settings=settings_of(params, steps),
            runtime=runtime,
            seed=SEED,
            evaluate=evaluate,
            on_step=on_step,
        )
        return [[row["seconds"], row["validation_loss"]] for row in evaluations(result)]

    return whole


def rows(options: Options) -> Iterator[Row]:
    if not (SAMPLES / "train.npy").is_file():
        raise ValueError(f"{SAMPLES} is missing: `make run` makes what this benchmark learns from")
    steps = round(options.size or STEPS)
    with Worker("benchmarks.losses:ours", steps=steps) as here:
        here()
    with Worker("benchmarks.losses:adamw", steps=LONGER * steps, peak=PEAK) as peer:
        peer()
    seconds, loss = here.value[-1]
    reached = [at for at, value in peer.value if value <= loss]
    last, lowest = peer.value[-1]
    told = f"validation loss {loss:.3f} after {steps} steps of the recipe"
    note = f"AdamW ended its {LONGER * steps} steps at {lowest:.3f}" + ("" if reached else ": it had not reached it")
    peer_times = Times((reached[0] if reached else last,))
    yield Row(told, Times((seconds,)), f"AdamW, peak {PEAK:g}", peer_times, Goal(3.0), note)
