"""What the four training stages share: parameters become the training loop's settings, its steps become records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from gpt.distributed import world_size
from gpt.heads import n_trainable
from gpt.model import Transformer
from gpt.order import ByLength, MixedOrder
from gpt.runtime import Runtime
from gpt.seeds import derive
from gpt.train import Batch, Loss, TrainResult, TrainSettings, train
from pipeline import schema
from pipeline.faults import passing
from pipeline.stage import Stage
from stages.models import log_runtime

Order = MixedOrder | ByLength


def order_of(stage: Stage, name: str, lengths: Sequence[int]) -> ByLength:
    """The training rows in a new order every epoch, those of a batch alike in length; a pure function of (seed, epoch,
    position)."""
    return ByLength(MixedOrder(derive(stage.params.seed, name), (len(lengths),)), tuple(lengths))


def steps_of(params: schema.Training, order: Order) -> int:
    """Optimizer steps of all epochs; an epoch's last, incomplete batch is left out, as the book's loaders do."""
    steps = params.epochs * order.batches_per_epoch(params.batch_size) // params.accumulation_steps
    if not steps:
        raise ValueError(
            f"accumulation_steps {params.accumulation_steps} × batch_size {params.batch_size} is more than "
            f"the {sum(order.sizes)} training rows of all {params.epochs} epochs: not one step would be made"
        )
    return steps


def tokens_per_step(params: schema.Training, row_length: int) -> int:
    """At most: rows may be shorter."""
    return params.batch_size * params.accumulation_steps * row_length


def rows_at(params: schema.Training, order: Order, step: int, micro: int) -> np.ndarray:
    """The rows of one micro-batch."""
    return order.batch(step * params.accumulation_steps + micro, params.batch_size)


def fit(
    stage: Stage,
    model: Transformer,
    params: schema.Training,
    runtime: Runtime,
    *,
    total_steps: int,
    batch: Callable[[int, int], Batch],
    loss: Loss,
    evaluate: Callable[[nn.Module], dict[str, float]],
    variant: str = "",
    unit: str = "tokens",
    on_evaluation: Callable[[int, nn.Module], dict[str, str]] | None = None,
) -> TrainResult:
    """Train `model` in place; every step goes to the progress bar and MLflow, every evaluation to the curve.

    `unit` names what the loss counts: tokens, messages, answer tokens.
    """
    label = f"{variant}/" if variant else ""
    many = stage.params.runtime.processes
    if world_size() != many:
        raise ValueError(f"runtime.processes is {many}, and torchrun started {world_size()}: both must say the same")
    log_runtime(stage, runtime, variant)
    if stage.first:
        together = f"; {many} processes" if many > 1 else ""
        print(f"{total_steps} steps, {n_trainable(model):,} trained parameters; {runtime.reason}{together}", flush=True)
    with stage.progress(total_steps, "steps", variant) as progress:

        def record(step: int, values: Mapping[str, float]) -> None:
            stage.log_metrics({f"{label}{name}": value for name, value in values.items()}, step)

        def on_step(step: int, values: dict[str, float]) -> None:
            if step - 1 > progress.done:  # what an earlier, interrupted run had done
                progress.skip(step - 1 - progress.done)
            pace = {f"{unit}_per_second": values.pop("tokens_per_second"), unit: values.pop("tokens")}
            progress.advance(loss=values["loss"], pace=f"{pace[f'{unit}_per_second']:,.0f} {unit.replace('_', ' ')}/s")
            record(step, values | pace)

        def evaluated(step: int, values: dict[str, float], at: nn.Module) -> dict[str, str]:
            record(step, values)
            return on_evaluation(step, at) if on_evaluation else {}

        result = train(
            model,
            loss=loss,
            batch=batch,
            settings=settings_of(params, total_steps),
            runtime=runtime,
            seed=stage.params.seed,
            evaluate=evaluate,
            on_step=on_step,
            on_evaluation=evaluated,
            checkpoints=stage.checkpoints / (variant or "model"),
            should_stop=stage.stopping,
            keep=params.keep,
            passing=passing,
            sharded=stage.params.runtime.sharding == "full",
        )
    costs = {"training_seconds": result.seconds, f"{unit}_per_second": result.tokens / result.seconds}
    stage.log_costs({f"{label}{name}": value for name, value in costs.items()})
    return result


def settings_of(params: schema.Training, total_steps: int) -> TrainSettings:
    return TrainSettings(
        total_steps=total_steps,
        optimizer=params.optimizer,
        learning_rate=params.learning_rate,
        min_learning_rate=params.min_learning_rate,
        warmup_steps=params.warmup_steps,
        weight_decay=params.weight_decay,
        beta1=params.beta1,
        beta2=params.beta2,
        grad_clip=params.grad_clip,
        accumulation_steps=params.accumulation_steps,
        eval_interval=params.eval_interval,
        checkpoint_interval=params.checkpoint_interval,
    )


def write_curves(stage: Stage, results: Mapping[str, TrainResult]) -> None:
    """`reports/STAGE/curves/VARIANT.csv`: one row an evaluation."""
    import pandas as pd  # half a second to import: a training is to begin first

    folder = stage.out(f"reports/{stage.name}/curves")
    folder.mkdir()
    for variant, result in results.items():
        rows = pd.DataFrame(evaluations(result)).drop(columns="sample", errors="ignore")
        rows.to_csv(folder / f"{variant}.csv", index=False, lineterminator="\n")
    stage.log_artifact(folder)


def evaluations(result: TrainResult) -> list[dict[str, Any]]:
    """The history's rows that hold an evaluation."""
    return [row for row in result.history if "validation_loss" in row]


def kept_row(result: TrainResult, keep: str) -> dict[str, Any]:
    """The evaluation of the weights that were kept."""
    rows = evaluations(result)
    return min(rows, key=lambda row: row["validation_loss"]) if keep == "best" else rows[-1]
