"""What the four training stages share: parameters become the training loop's settings, its steps become records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import nn

from gpt.heads import n_trainable
from gpt.model import Transformer
from gpt.seeds import generator
from gpt.train import TrainResult, TrainSettings, train
from pipeline import schema
from pipeline.stage import Stage
from stages.models import runtime_of


def steps_of(params: schema.Training, rows: int) -> int:
    """Optimizer steps of all epochs; a last, incomplete step of an epoch is left out, as the book's loaders do."""
    per_epoch = rows // (params.batch_size * params.accumulation_steps)
    if not per_epoch:
        needed = params.batch_size * params.accumulation_steps
        raise ValueError(f"batch_size × accumulation_steps is {needed}: the training part has only {rows} rows")
    return params.epochs * per_epoch


def row_order(seed: int, name: str, rows: int, params: schema.Training) -> Callable[[int, int], list[int]]:
    """(step, micro-batch) → row numbers: a new permutation every epoch, a pure function of (seed, epoch, position)."""
    per_step = params.batch_size * params.accumulation_steps
    per_epoch = rows // per_step
    permutations: dict[int, list[int]] = {}

    def rows_at(step: int, micro: int) -> list[int]:
        epoch, position = divmod(step, per_epoch)
        if epoch not in permutations:
            permutations.clear()
            permutations[epoch] = torch.randperm(rows, generator=generator(seed, name, "order", epoch)).tolist()
        start = position * per_step + micro * params.batch_size
        return permutations[epoch][start : start + params.batch_size]

    return rows_at


def fit(
    stage: Stage,
    model: Transformer,
    params: schema.Training,
    *,
    total_steps: int,
    batch: Callable[[int, int], Any],
    loss: Callable[[nn.Module, Any], tuple[torch.Tensor, Any]],
    evaluate: Callable[[nn.Module], dict[str, float]],
    variant: str = "",
    unit: str = "tokens",
    on_evaluation: Callable[[int, nn.Module], dict[str, str]] | None = None,
) -> TrainResult:
    """Train `model` in place; every step goes to the progress bar and MLflow, every evaluation to the curve."""
    runtime = runtime_of(stage, model, total_steps)
    label = f"{variant}/" if variant else ""
    print(
        f"{label or stage.name + ': '}{total_steps} steps, {n_trainable(model):,} trained parameters, {runtime.reason}",
        flush=True,
    )
    with stage.progress(total_steps, "steps", variant) as progress:

        def on_step(step: int, values: Mapping[str, float]) -> None:
            progress.advance(**values)
            stage.log_metrics({f"{label}{name}": value for name, value in values.items()}, step)

        def evaluated(step: int, values: Mapping[str, float], at: nn.Module) -> dict[str, str]:
            stage.log_metrics({f"{label}{name}": value for name, value in values.items()}, step)
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
            on_resume=progress.skip,
            checkpoints=stage.checkpoints_for(runtime.describe()) / variant,
            should_stop=stage.stopping,
            keep=params.keep,
        )
    stage.log_costs({f"{label}{name}": value for name, value in result.costs.items()})
    return result


def settings_of(params: schema.Training, total_steps: int) -> TrainSettings:
    return TrainSettings(
        total_steps=total_steps,
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


def write_curve(stage: Stage, histories: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """`reports/STAGE/curve.csv`: one row an evaluation, with the variant it belongs to."""
    rows = [{"variant": variant, **row} for variant, history in histories.items() for row in history]
    path = stage.out(f"reports/{stage.name}/curve.csv")
    pd.DataFrame(rows).drop(columns="sample", errors="ignore").to_csv(path, index=False, lineterminator="\n")
    stage.log_artifact(path)


def kept_loss(result: TrainResult, keep: str) -> float:
    """The validation loss of the weights that were kept."""
    losses = [row["validation_loss"] for row in result.history]
    return min(losses) if keep == "best" else losses[-1]
