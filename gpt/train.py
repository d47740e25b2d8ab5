"""Chapter 6's training loop, for every chapter that trains: pre-training, classifying, following instructions, LoRA.

The recipe of one step, in `Training.update`:

    for each micro-batch: dropout's seed, loss as a sum of nats and a count of tokens, backward
    add both up over processes; divide the gradients by the count; clip their norm
    learning rate for this step; the optimizer

What it promises: every number is a function of (seed, step, micro-batch), so evaluating more often, or being killed and
run again, ends in the same bytes. Run under `torchrun` it shares the rows of each step among the processes, and one
checkpoint serves any number of them.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpt.checkpoint import Checkpoint, checkpoints_in, load_newest, save_checkpoint, write_json
from gpt.distributed import Group, join
from gpt.optimizer import learning_rate_at, optimizer_tensors, optimizers, restore_optimizers
from gpt.runtime import Runtime
from gpt.seeds import reseed_device
from gpt.sharding import is_spread, part_of, spread, whole
from gpt.train_settings import Row, TrainResult, TrainSettings

Batch = tuple[Tensor, ...]
Loss = Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]


@dataclass
class Progress:
    """How far a training is: with weights and optimizer, all of a checkpoint."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_step: int | None = None
    best_value: float | None = None
    history: list[Row] = field(default_factory=list)
    best_weights: dict[str, Tensor] | None = None


def train(
    model: nn.Module,
    *,
    loss: Loss,
    batch: Callable[[int, int], Batch],
    settings: TrainSettings,
    runtime: Runtime,
    seed: int,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
    on_evaluation: Callable[[int, dict[str, float], nn.Module], Mapping[str, str] | None] | None = None,
    checkpoints: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    keep: str = "last",
    best_metric: str = "validation_loss",
    report: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
    passing: Callable[[str], None] = lambda point: None,
    sharded: bool = False,
) -> TrainResult:
    """Train those parameters of `model` that require gradients, in place, and leave it on the device in `eval` mode.

    loss(model, batch) -> (sum of nats, counted tokens); batch(step, micro) -> tensors on the CPU, a pure function of
    both numbers (from 0). evaluate(model) -> metrics, called without gradients. on_evaluation(step, metrics, model) may
    write a sample; what it returns joins the history's row. on_step(step, numbers) gets what that row has, and
    tokens_per_second. Steps count from 1 there. keep: "last", or "best": the weights with the lowest `best_metric`.
    checkpoints: a folder; a training of the same settings, seed, runtime, parameters and `identity` goes on there.
    passing: told where in the writing of a checkpoint it is (gpt/checkpoint.py).
    sharded: several processes hold a part of the weights each while they train. `on_evaluation` and the caller then get
    the whole model, on the CPU until the end; only the first process moves it to its device.

    Raises FloatingPointError when a number is no longer finite, KeyboardInterrupt after `should_stop()` (with a
    checkpoint), ValueError for settings that don't fit together, OSError when a checkpoint can't be written.
    """
    group = join(runtime.device)
    if keep not in ("last", "best") or (keep == "best" and evaluate is None):
        raise ValueError(f'keep is {keep!r}: it must be "last", or "best" where something is evaluated')
    sharded = sharded and group.size > 1
    trained = spread(model, runtime.device) if sharded else model
    runtime.prepare(trained)
    training = Training(trained, loss, batch, settings, runtime, seed, group)
    if checkpoints is not None:
        training.open_checkpoints(checkpoints, identity or {}, report if group.first else lambda line: None)
    progress = training.progress
    resumed_from = progress.step

    def evaluated() -> None:
        if evaluate is None:
            return
        if progress.step == 0:
            progress.history.append({"step": 0, "tokens": 0})
        metrics = training.evaluate(evaluate, best_metric if keep == "best" else None)
        if on_evaluation is not None and sharded:
            put_weights(model.eval(), weights_of(trained))
        if on_evaluation is not None and group.first:
            progress.history[-1].update(on_evaluation(progress.step, metrics, model) or {})

    if progress.step == 0:
        evaluated()
    while progress.step < settings.total_steps:
        try:
            numbers = training.update()
        except KeyboardInterrupt:  # a step longer than anyone may wait: what was done before it is whole
            if training.whole and group.size == 1:
                training.save(passing)
            raise
        if on_step is not None and group.first:
            on_step(progress.step, numbers)
        last = progress.step == settings.total_steps
        if last or progress.step % settings.eval_interval == 0:
            evaluated()
        stop = not last and group.any(should_stop(), runtime.device)
        if last or stop or (settings.checkpoint_interval and progress.step % settings.checkpoint_interval == 0):
            training.save(passing)
        if stop:
            raise KeyboardInterrupt(f"stopped after step {progress.step}; last checkpoint: {training.newest or 'none'}")
    if progress.best_weights is not None:
        put_weights(model, progress.best_weights)
    elif sharded:
        put_weights(model, weights_of(trained))
    if sharded and group.first:
        model.to(runtime.device)
    model.eval()
    return TrainResult(
        progress.history,
        progress.step,
        progress.tokens,
        progress.best_step,
        progress.best_value,
        progress.seconds,
        resumed_from,
    )


class Training:
    """One training under way."""

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        batch: Callable[[int, int], Batch],
        settings: TrainSettings,
        runtime: Runtime,
        seed: int,
        group: Group,
    ) -> None:
        self.model = model
        self.loss = runtime.compiled(loss)
        self.batch = batch
        self.settings = settings
        self.runtime = runtime
        self.seed = seed
        self.group = group
        self.micro_batches, self.rows = group.share(settings.accumulation_steps)
        self.ahead: dict[tuple[int, int], Batch] = {}  # made and sent before its turn: (step, micro-batch) -> inputs
        self.optimizers = optimizers(
            model,
            settings.optimizer,
            settings.learning_rate,
            settings.weight_decay,
            (settings.beta1, settings.beta2),
            getattr(torch, runtime.dtype),
        )
        self.progress = Progress()
        self.folder: Path | None = None
        self.newest: Path | None = None
        self.whole = True  # weights, optimizer and progress are of one and the same step

    def update(self) -> dict[str, float]:
        """One step of the recipe; returns its numbers."""
        began = time.perf_counter()
        step, settings = self.progress.step, self.settings
        self.model.train()
        nats = torch.zeros((), device=self.runtime.device)
        counted = torch.zeros((), device=self.runtime.device, dtype=torch.int64)
        for micro in self.micro_batches:
            inputs = self.taken(step, micro)
            reseed_device(self.seed, step, micro, *self.drawn_apart)
            with self.runtime.autocast():
                total, count = self.loss(self.model, inputs)
            total.backward()
            self.look_ahead(step, micro)
            nats += total.detach()
            counted += count

        gradients = [p.grad for p in self.model.parameters() if p.requires_grad and p.grad is not None]
        self.group.add([*gradients, nats, counted])
        tokens = int(counted.item())
        if tokens == 0:
            raise ValueError(f"the batch of step {step + 1} has no target that counts: every one of them is masked")
        mean_loss = nats.item() / tokens
        norm = whole(torch.nn.utils.get_total_norm(gradients)).item() / tokens
        learning_rate = learning_rate_at(
            step,
            peak=settings.learning_rate,
            minimum=settings.min_learning_rate,
            warmup_steps=settings.warmup_steps,
            total_steps=settings.total_steps,
        )
        if not (math.isfinite(mean_loss) and math.isfinite(norm)):
            raise self.diverged(f"loss {mean_loss}, gradient norm {norm}", step + 1, learning_rate)

        clip = min(1.0, settings.grad_clip / (norm + 1e-6)) if settings.grad_clip else 1.0
        for gradient in gradients:
            gradient.mul_(clip / tokens)  # one pass makes the sum a mean and clips it
        self.whole = False
        for optimizer in self.optimizers:
            for parameters in optimizer.param_groups:
                parameters["lr"] = learning_rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        seconds = time.perf_counter() - began
        self.progress.step += 1
        self.progress.tokens += tokens
        self.progress.seconds += seconds
        numbers = {"loss": mean_loss, "learning_rate": learning_rate, "gradient_norm": norm}
        self.progress.history.append({"step": self.progress.step, "tokens": self.progress.tokens, **numbers})
        self.whole = True
        return {**numbers, "tokens": self.progress.tokens, "tokens_per_second": tokens / seconds}

    def taken(self, step: int, micro: int) -> Batch:
        """This process's rows of a micro-batch, on the device."""
        return self.ahead.pop((step, micro), None) or self.runtime.place(self.own_rows(self.batch(step, micro)))

    def look_ahead(self, step: int, micro: int) -> None:
        """Make the micro-batch after this one and send it while the device is at work, where it works aside."""
        later = [other for other in self.micro_batches if other > micro]
        step, micro = (step, later[0]) if later else (step + 1, self.micro_batches[0])
        if self.runtime.works_aside and step < self.settings.total_steps:
            self.ahead[step, micro] = self.taken(step, micro)

    @property
    def shared_by(self) -> str:
        """Who trains, in words."""
        if self.group.size == 1:
            return "one process"
        spread_weights = any(is_spread(parameter) for parameter in self.model.parameters())
        return f"{self.group.size} processes" + (" with spread weights" if spread_weights else "")

    @property
    def drawn_apart(self) -> tuple[int, ...]:
        """What tells this process's dropout from that of the others that work on the same micro-batch."""
        return () if self.rows == slice(None) else (self.group.rank,)

    def own_rows(self, batch: Batch) -> Batch:
        """This process's rows of a micro-batch; ValueError where there is not one for each process."""
        if self.rows == slice(None):
            return batch
        if len(batch[0]) < self.group.size:
            raise ValueError(
                f"batches of {len(batch[0])} rows for {self.group.size} processes: each takes at least one"
            )
        return tuple(tensor[self.rows].contiguous() for tensor in batch)

    def evaluate(self, evaluate: Callable[[nn.Module], dict[str, float]], best_metric: str | None) -> dict[str, float]:
        """Metrics now, added to the history's last row; the weights are kept when `best_metric` is the lowest yet."""
        progress = self.progress
        self.model.eval()
        with torch.no_grad():
            metrics = evaluate(self.model)
        if not all(math.isfinite(value) for value in metrics.values()):
            raise self.diverged(f"evaluation {metrics}", progress.step, self.optimizers[0].param_groups[0]["lr"])
        progress.history[-1].update(metrics)
        if best_metric is not None:
            if best_metric not in metrics:
                raise ValueError(f"keep is best by {best_metric!r}, but evaluating gives {', '.join(sorted(metrics))}")
            if progress.best_value is None or metrics[best_metric] < progress.best_value:
                progress.best_step, progress.best_value = progress.step, metrics[best_metric]
                progress.best_weights = {name: tensor.clone() for name, tensor in weights_of(self.model).items()}
        return metrics

    def diverged(self, what: str, step: int, learning_rate: float) -> FloatingPointError:
        return FloatingPointError(
            f"training diverged at step {step}: {what}, learning rate {learning_rate:g}; "
            f"last good checkpoint: {self.newest or 'none'}. Try a lower learning rate, or a longer warm-up"
        )

    def open_checkpoints(self, folder: Path, identity: Mapping[str, Any], report: Callable[[str], None]) -> None:
        """Go on from the newest whole checkpoint of this very training, kept in a folder named by what defines it.

        How many processes share the work does not: it changes rounding alone. But what others finished stays theirs.
        """
        about = {
            "identity": dict(identity),
            "parameters": {name: list(tensor.shape) for name, tensor in weights_of(self.model).items()},
            "runtime": self.runtime.describe(),
            "seed": self.seed,
            "settings": asdict(self.settings),
        }
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        self.folder = folder / digest[:16]
        if self.group.first:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / "training.json", about)
        found = load_newest(self.folder, report, self.group.first)
        if found is None:
            return
        shared_by = found.state.pop("shared_by")
        if shared_by != self.shared_by:
            if found.step == self.settings.total_steps:
                self.begin_anew()
                return
            report(f"going on from step {found.step}, which {shared_by} reached, with {self.shared_by}")
        put_weights(self.model, found.weights)
        restore_optimizers(self.optimizers, found.optimizer)
        self.progress = Progress(**found.state, step=found.step, history=found.history, best_weights=found.best)
        self.newest = self.folder / f"step-{found.step}"

    def begin_anew(self) -> None:
        """What others finished is no interrupted work of ours: without their checkpoints, ours are the newest."""
        self.group.wait()  # until all have looked
        if self.group.first and self.folder is not None:
            for path in checkpoints_in(self.folder):
                shutil.rmtree(path)

    def save(self, passing: Callable[[str], None]) -> None:
        """A checkpoint, written by the first process while the others wait."""
        if self.folder is None:
            return
        progress = self.progress
        weights, optimizer = weights_of(self.model), optimizer_tensors(self.optimizers)  # all gather what is spread
        if self.group.first:
            state = {name: getattr(progress, name) for name in ("tokens", "seconds", "best_step", "best_value")}
            state["shared_by"] = self.shared_by
            found = Checkpoint(progress.step, state, progress.history, weights, optimizer, progress.best_weights)
            self.newest = save_checkpoint(self.folder, found, passing)
        self.group.wait()


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """What training changes: trainable parameters, each once, and stored buffers; whole, detached, on the CPU."""
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    stored = model.state_dict().keys()
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in stored}
    return {name: whole(tensor.detach()).cpu().contiguous() for name, tensor in {**trainable, **buffers}.items()}


@torch.no_grad()
def put_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """The counterpart of `weights_of`, in place."""
    places = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, tensor in weights.items():
        places[name].copy_(part_of(tensor, places[name]))
