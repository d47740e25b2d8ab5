"""Tiny trainings of all four kinds, to be done by one process or by several: `python -m tests.gpt.sharing FOLDER`.

A process that torchrun started trains each of them twice, with whole and with spread weights, goes on from what one
process left, and stops half-way for one process to go on; what one process finished it trains again. No dropout: who
draws what depends on who has which rows.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from gpt.collate import instruction_batch, pad_rows, read_counted
from gpt.config import GPTConfig
from gpt.distributed import join, world_size
from gpt.heads import Classifier, select_trainable
from gpt.lora import add_lora
from gpt.loss import answer_loss, label_loss, next_token_loss
from gpt.model import GPT
from gpt.runtime import Runtime
from gpt.seeds import generator, permutation
from gpt.train import Batch, Loss, TrainResult, TrainSettings, train

CPU = Runtime("cpu", "float32", False, 1, "test")
VOCABULARY, CONTEXT, STEPS, HALF, ROWS = 37, 16, 8, 4, 40
SETTINGS: dict[str, Any] = {
    "total_steps": STEPS,
    "learning_rate": 1e-2,
    "min_learning_rate": 1e-3,
    "warmup_steps": 2,
    "weight_decay": 0.1,
    "beta1": 0.9,
    "beta2": 0.98,
    "grad_clip": 1.0,
    "eval_interval": 3,
    "checkpoint_interval": HALF,
}
Kind = tuple[Callable[[], torch.nn.Module], Loss, Callable[[list[int]], Batch], str, int, int]


def body() -> GPT:
    config = GPTConfig(VOCABULARY, CONTEXT, 16, 2, 3, dropout=0.0, qkv_bias=False, tie_embeddings=True)
    return GPT(config, generator=generator(1, "weights"))


def text(row: int, length: int) -> list[int]:
    return [(row * 7 + at * (1 + row % 3)) % (VOCABULARY - 1) for at in range(length)]


def windows(chosen: list[int]) -> Batch:
    tokens = torch.tensor([text(row, CONTEXT + 1) for row in chosen])
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def messages(chosen: list[int]) -> Batch:
    tokens, lengths = pad_rows([text(row, 3 + row % 9) for row in chosen], 0)
    return tokens, lengths, torch.tensor([row % 3 for row in chosen])


def instructions(chosen: list[int]) -> Batch:
    rows = [(text(row, 4), text(row + 1, 2 + row % 5)) for row in chosen]
    return read_counted(*instruction_batch(rows, VOCABULARY - 1, mask_prompt=True))


def classifier() -> Classifier:
    model = Classifier.from_gpt(body(), ["a", "b", "c"], generator(1, "head"))
    select_trainable(model, "last_block")
    return model


def adapted() -> Classifier:
    model = Classifier.from_gpt(body(), ["a", "b", "c"], generator(1, "head"))
    add_lora(model, 2, 4.0, 0.0, generator(1, "adapters"))
    return model


KINDS: dict[str, Kind] = {  # model, loss, batch, optimizer, rows of a micro-batch, micro-batches
    "pretrain": (body, next_token_loss, windows, "adamw", 5, 1),  # five rows for two processes: three and two
    "muon": (body, next_token_loss, windows, "muon", 4, 3),
    "classify": (classifier, label_loss, messages, "adamw", 6, 1),
    "lora": (adapted, label_loss, messages, "adamw", 4, 2),  # a micro-batch for each
    "instruct": (body, answer_loss, instructions, "adamw", 4, 1),
}


def local(parameter: Any) -> torch.Tensor:
    """What this process holds of a parameter."""
    return parameter.to_local() if hasattr(parameter, "to_local") else parameter


def trained(kind: str, folder: Path, sharded: bool = False, until: int = STEPS) -> tuple[TrainResult, torch.nn.Module]:
    """Train in `folder`, from its newest checkpoint on. KeyboardInterrupt after step `until`, if there are more."""
    make, loss, batch_of, optimizer, size, micros = KINDS[kind]
    model = make()
    done = [0]

    def batch(step: int, micro: int) -> Batch:
        done[0] = step
        return batch_of([int(row) for row in permutation(ROWS, 1, step, micro)[:size]])

    def evaluate(module: torch.nn.Module) -> dict[str, float]:
        held, whole = (sum(each(p).numel() for p in module.parameters()) for each in (local, lambda p: p))
        assert held < 0.6 * whole if sharded else held == whole
        nats, counted = loss(module, batch_of(list(range(size))))
        return {"validation_loss": nats.item() / counted.item()}

    def written(step: int, metrics: dict[str, float], module: torch.nn.Module) -> dict[str, str]:
        assert not any(hasattr(p, "full_tensor") for p in module.parameters())
        with torch.no_grad():
            nats, counted = loss(module, batch_of(list(range(size))))
        assert abs(nats.item() / counted.item() - metrics["validation_loss"]) < 1e-5
        return {}

    result = train(
        model,
        loss=loss,
        batch=batch,
        settings=TrainSettings(optimizer=optimizer, accumulation_steps=micros, **SETTINGS),
        runtime=CPU,
        seed=3,
        evaluate=evaluate,
        on_evaluation=written,
        checkpoints=folder,
        should_stop=lambda: done[0] + 1 >= until,
        keep="best",
        sharded=sharded,
    )
    return result, model


def half(kind: str, folder: Path, sharded: bool = False) -> None:
    try:
        trained(kind, folder, sharded, HALF)
    except KeyboardInterrupt:
        return
    raise AssertionError("it was to stop half-way")


def keep(place: Path, result: TrainResult, model: torch.nn.Module) -> None:
    place.mkdir(parents=True)
    (place / "history.json").write_text(json.dumps([result.resumed_from, result.history]))
    save_file({name: p.detach().clone() for name, p in model.named_parameters()}, place / "weights.safetensors")


def everything(folder: Path) -> None:
    first = join("cpu").rank == 0
    rank = "first" if first else "second"
    for kind in KINDS:
        for sharded in (False, True):
            place = folder / f"{kind}-{'spread' if sharded else 'whole'}"
            keep(place / rank, *trained(kind, place / "checkpoints", sharded))
            if first:
                shutil.copytree(folder / f"{kind}-alone", place / "from-one")
            join("cpu").wait()
            keep(place / f"{rank}-from-one", *trained(kind, place / "from-one", sharded))
            half(kind, place / "half", sharded)
        if first:
            shutil.copytree(folder / f"{kind}-finished", folder / f"{kind}-again")
        join("cpu").wait()
        keep(folder / f"{kind}-{rank}-again", *trained(kind, folder / f"{kind}-again"))


if __name__ == "__main__":
    assert world_size() == 2
    everything(Path(sys.argv[1]))
