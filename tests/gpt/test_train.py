"""The training loop's promises, on a real GPT small enough to train in milliseconds."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from gpt.config import GPTConfig
from gpt.evaluate import window_loss
from gpt.lora import add_lora
from gpt.loss import IGNORED, next_token_loss
from gpt.model import GPT
from gpt.order import MixedOrder
from gpt.runtime import Runtime, missing_for_compiling
from gpt.seeds import generator
from gpt.train import TrainResult, TrainSettings, train, weights_of
from gpt.windows import Windows, window_starts

CPU = Runtime("cpu", "float32", False, 1, "test")
CONFIG = GPTConfig(17, 8, 16, 2, 1, dropout=0.2, qkv_bias=False, tie_embeddings=True)
PLAN: dict[str, Any] = {
    "total_steps": 7,
    "optimizer": "adamw",
    "learning_rate": 0.02,
    "min_learning_rate": 0.002,
    "warmup_steps": 2,
    "weight_decay": 0.1,
    "beta1": 0.9,
    "beta2": 0.95,
    "grad_clip": 1.0,
    "accumulation_steps": 2,
    "eval_interval": 3,
    "checkpoint_interval": 2,
}
TOKENS = np.random.default_rng(0).integers(0, 17, 200)
WINDOWS = Windows(TOKENS, window_starts(200, 8, 8), 8)


def new_model() -> GPT:
    return GPT(CONFIG, generator(1, "weights"))


def data(step: int, micro: int) -> tuple[Tensor, ...]:
    inputs, targets = WINDOWS.batch(MixedOrder(1, (len(WINDOWS),)).batch(step * 2 + micro, 4))
    if micro:  # micro-batches of different weight
        targets[:3] = IGNORED
    return inputs, targets


def validation(model: torch.nn.Module) -> dict[str, float]:
    torch.rand(3)  # even an evaluation that draws from the device's generator must not matter
    return {"validation_loss": window_loss(model, WINDOWS, 4, CPU, max_batches=2)[0]}


def run(model: torch.nn.Module, *, runtime: Runtime = CPU, **changes: Any) -> TrainResult:
    plan = {**PLAN, **{name: changes.pop(name) for name in list(changes) if name in PLAN}}
    given: dict[str, Any] = {"batch": data, "evaluate": validation, "loss": next_token_loss, "seed": 3, **changes}
    return train(model, settings=TrainSettings(**plan), runtime=runtime, **given)


def bytes_of(model: torch.nn.Module) -> bytes:
    return save(weights_of(model))


def stopping_after(calls: int) -> Callable[[], bool]:
    left = [calls]

    def stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    return stop


def newest_optimizer(folder: Path) -> dict[str, Tensor]:
    found = max(folder.glob("*/step-*"), key=lambda path: int(path.name.removeprefix("step-")))
    return load_file(found / "optimizer.safetensors")


def test_it_learns_and_repeats_bit_for_bit() -> None:
    first, second = new_model(), new_model()
    a, b = run(first, total_steps=30), run(second, total_steps=30)
    assert bytes_of(first) == bytes_of(second)
    assert a.history == b.history
    assert a.history[-1]["validation_loss"] < a.history[0]["validation_loss"] - 0.2
    assert not first.training


def test_history_has_a_row_a_step_and_evaluations_at_start_interval_and_end() -> None:
    result = run(new_model())
    assert [row["step"] for row in result.history] == list(range(8))
    assert [row["step"] for row in result.history if "validation_loss" in row] == [0, 3, 6, 7]
    assert result.history[1]["tokens"] == 4 * 8 + 8
    assert result.tokens == 7 * 40 == result.history[-1]["tokens"]
    assert result.history[2]["learning_rate"] == 0.02
    json.dumps(result.history, allow_nan=False)


def test_a_batch_made_while_the_device_works_is_the_same_batch() -> None:
    class Aside(Runtime):
        works_aside = True

    made: list[tuple[int, int]] = []

    def noted(step: int, micro: int) -> tuple[Tensor, ...]:
        made.append((step, micro))
        return data(step, micro)

    plain, ahead = new_model(), new_model()
    run(plain)
    run(ahead, runtime=Aside("cpu", "float32", False, 1, "test"), batch=noted)
    assert bytes_of(ahead) == bytes_of(plain)
    assert made == [(step, micro) for step in range(7) for micro in (0, 1)]


def test_how_often_one_evaluates_changes_no_weight() -> None:
    models = [new_model() for _ in range(3)]
    run(models[0], eval_interval=1)
    run(models[1], eval_interval=100)
    run(models[2], evaluate=None)
    assert len({bytes_of(model) for model in models}) == 1


def test_the_loss_weighs_every_token_the_same() -> None:
    """Two micro-batches with different counts are one batch."""

    def joined(step: int, micro: int) -> tuple[Tensor, ...]:
        return tuple(torch.cat(pair) for pair in zip(data(step, 0), data(step, 1), strict=True))

    config = GPTConfig(17, 8, 16, 2, 1, dropout=0.0, qkv_bias=False, tie_embeddings=True)
    apart, together = GPT(config, generator(1, "w")), GPT(config, generator(1, "w"))
    a, b = run(apart), run(together, batch=joined, accumulation_steps=1)
    for one, other in zip(a.history, b.history, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    for p, q in zip(apart.parameters(), together.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-4)


def test_gradients_are_clipped_to_their_norm() -> None:
    """Plain gradient descent would show it directly; Adam shows it in its first moment."""
    model = new_model()
    seen: list[float] = []
    given = run(model, grad_clip=0.01, total_steps=1, on_step=lambda step, row: seen.append(row["gradient_norm"]))
    assert given.steps == 1
    assert seen[0] > 0.01
    unclipped = new_model()
    nats, counted = (
        sum(part) for part in zip(*(next_token_loss(unclipped.eval(), data(0, m)) for m in (0, 1)), strict=True)
    )
    (nats / counted).backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in unclipped.parameters() if p.grad is not None])
    assert norm.item() == pytest.approx(seen[0], rel=0.5)  # dropout apart


@pytest.mark.parametrize("step", range(1, 7))
@pytest.mark.parametrize("keep", ["last", "best"])
def test_stopped_at_any_step_and_resumed_it_ends_the_same(tmp_path: Path, step: int, keep: str) -> None:
    undisturbed, resumed = new_model(), new_model()
    expected = run(undisturbed, checkpoints=tmp_path / "a", keep=keep)
    with pytest.raises(KeyboardInterrupt, match=f"stopped after step {step}; last checkpoint: .*/step-{step}$"):
        run(new_model(), checkpoints=tmp_path / "b", keep=keep, should_stop=stopping_after(step - 1))
    found = run(resumed, checkpoints=tmp_path / "b", keep=keep)
    assert found.resumed_from == step
    assert bytes_of(resumed) == bytes_of(undisturbed)
    assert found.history == expected.history
    assert (found.tokens, found.best_step, found.best_value) == (
        expected.tokens,
        expected.best_step,
        expected.best_value,
    )
    before, after = newest_optimizer(tmp_path / "a"), newest_optimizer(tmp_path / "b")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("step", range(1, 8))
def test_killed_anywhere_it_repeats_only_what_no_checkpoint_has(tmp_path: Path, step: int) -> None:
    class Killed(BaseException):
        pass

    def kill(at: int, row: dict[str, float]) -> None:
        if at == step:
            raise Killed

    undisturbed, resumed = new_model(), new_model()
    expected = run(undisturbed)
    with pytest.raises(Killed):
        run(new_model(), checkpoints=tmp_path, on_step=kill)
    seen: list[int] = []
    found = run(resumed, checkpoints=tmp_path, on_step=lambda at, row: seen.append(at))
    assert found.resumed_from == (step - 1) // 2 * 2
    assert seen == list(range(found.resumed_from + 1, 8))
    assert bytes_of(resumed) == bytes_of(undisturbed)
    assert found.history == expected.history


@pytest.mark.parametrize("step", [1, 4, 5])
def test_interrupted_in_the_middle_of_a_step_it_keeps_what_was_done_before(tmp_path: Path, step: int) -> None:
    """A step may be longer than anyone waits: KeyboardInterrupt comes out of it then."""
    undisturbed, resumed = new_model(), new_model()
    expected = run(undisturbed)

    def interrupting(model: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        if taken[-1:] == [step] and model.training:
            raise KeyboardInterrupt
        return next_token_loss(model, inputs)

    taken: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        run(new_model(), checkpoints=tmp_path, loss=interrupting, on_step=lambda at, row: taken.append(at))
    found = run(resumed, checkpoints=tmp_path)
    assert found.resumed_from == step
    assert bytes_of(resumed) == bytes_of(undisturbed)
    assert found.history == expected.history


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    model, again = new_model(), new_model()
    expected = run(model, checkpoints=tmp_path, keep="best")
    seen: list[int] = []
    found = run(again, checkpoints=tmp_path, keep="best", on_step=lambda at, row: seen.append(at))
    assert not seen
    assert found.resumed_from == 7
    assert found.history == expected.history
    assert bytes_of(again) == bytes_of(model)


def test_another_training_does_not_take_the_checkpoint(tmp_path: Path) -> None:
    run(new_model(), checkpoints=tmp_path)
    for changes in ({"seed": 4}, {"learning_rate": 0.03}, {"identity": {"data": "other"}}):
        assert run(new_model(), checkpoints=tmp_path, **changes).resumed_from == 0
    assert run(new_model(), checkpoints=tmp_path, runtime=Runtime("cpu", "bfloat16", False, 1, "")).resumed_from == 0


def test_a_damaged_checkpoint_is_reported_and_the_one_before_used(tmp_path: Path) -> None:
    undisturbed, resumed = new_model(), new_model()
    run(undisturbed)
    with pytest.raises(KeyboardInterrupt):
        run(new_model(), checkpoints=tmp_path, should_stop=stopping_after(4))
    (weights,) = tmp_path.glob("*/step-5/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    lines: list[str] = []
    assert run(resumed, checkpoints=tmp_path, report=lines.append).resumed_from == 4
    assert "step-5 is damaged" in lines[0]
    assert bytes_of(resumed) == bytes_of(undisturbed)


def test_the_best_weights_are_kept() -> None:
    scores = iter([3.0, 1.0, 2.0, 2.5])
    states: list[bytes] = []

    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        states.append(bytes_of(model))
        return {"validation_loss": next(scores)}

    model = new_model()
    result = run(model, evaluate=evaluate, keep="best")
    assert (result.best_step, result.best_value) == (3, 1.0)
    assert bytes_of(model) == states[1] != states[-1]


@pytest.mark.parametrize("stored", [True, False])
def test_not_a_number_stops_the_training(tmp_path: Path, stored: bool) -> None:
    def loss(model: torch.nn.Module, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        nats, counted = next_token_loss(model, batch)
        return nats * (float("nan") if torch.equal(batch[0], data(5, 0)[0]) else 1.0), counted

    place = r"checkpoint: .*/step-4\b" if stored else "checkpoint: none"
    with pytest.raises(FloatingPointError, match=f"step 6: loss nan.*learning rate 0.0.*{place}"):
        run(new_model(), loss=loss, checkpoints=tmp_path if stored else None)
    with pytest.raises(FloatingPointError, match="step 0: evaluation"):
        run(new_model(), evaluate=lambda model: {"validation_loss": float("inf")})


def test_what_on_evaluation_returns_joins_the_row_and_survives(tmp_path: Path) -> None:
    def sample(step: int, metrics: dict[str, float], model: torch.nn.Module) -> dict[str, str]:
        return {"sample": f"text at {step}"}

    with pytest.raises(KeyboardInterrupt):
        run(new_model(), on_evaluation=sample, checkpoints=tmp_path, should_stop=stopping_after(3))
    found = run(new_model(), on_evaluation=sample, checkpoints=tmp_path)
    samples = {row["step"]: row["sample"] for row in found.history if "sample" in row}
    assert samples == {step: f"text at {step}" for step in (0, 3, 6, 7)}
    seen: list[int] = []
    run(new_model(), on_evaluation=lambda step, metrics, model: seen.append(step))
    assert seen == [0, 3, 6, 7]


def test_a_batch_without_targets_is_refused() -> None:
    def masked(step: int, micro: int) -> tuple[Tensor, ...]:
        inputs, targets = data(step, micro)
        return inputs, torch.full_like(targets, IGNORED)

    with pytest.raises(ValueError, match="the batch of step 1 has no target that counts"):
        run(new_model(), batch=masked)


@pytest.mark.parametrize(
    "wrong", [{"eval_interval": 0}, {"total_steps": -1}, {"learning_rate": float("nan")}, {"accumulation_steps": 0}]
)
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainSettings(**{**PLAN, **wrong})


def test_keeping_the_best_needs_its_metric() -> None:
    with pytest.raises(ValueError, match='must be "last", or "best"'):
        run(new_model(), keep="best", evaluate=None)
    with pytest.raises(ValueError, match="'loss', but evaluating gives validation_loss"):
        run(new_model(), keep="best", best_metric="loss")


def test_only_adapters_are_trained_and_stored(tmp_path: Path) -> None:
    def adapted() -> GPT:
        model = new_model()
        add_lora(model, 2, 4, 0.1, generator(1, "lora"))
        return model

    model, resumed = adapted(), adapted()
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    run(model, checkpoints=tmp_path / "a")
    assert frozen
    assert all(torch.equal(p, frozen[name]) for name, p in model.named_parameters() if name in frozen)
    stored = load_file(next(tmp_path.glob("a/*/step-7/weights.safetensors")))
    assert stored.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    with pytest.raises(KeyboardInterrupt):
        run(adapted(), checkpoints=tmp_path / "b", should_stop=stopping_after(2))
    run(resumed, checkpoints=tmp_path / "b")
    assert bytes_of(resumed) == bytes_of(model)


@pytest.mark.skipif(bool(missing_for_compiling()), reason=f"compiling needs {missing_for_compiling()}")
def test_compiled_training_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    compiled = Runtime("cpu", "bfloat16", True, 1, "test")
    undisturbed, resumed = new_model(), new_model()
    run(undisturbed, runtime=compiled)
    with pytest.raises(KeyboardInterrupt):
        run(new_model(), runtime=compiled, checkpoints=tmp_path, should_stop=stopping_after(2))
    assert run(resumed, runtime=compiled, checkpoints=tmp_path).resumed_from == 3
    assert bytes_of(resumed) == bytes_of(undisturbed)
    assert all(torch.isfinite(p).all() for p in resumed.parameters())
    assert not any("_orig_mod" in name for name in resumed.state_dict())


def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    """As torchrun starts them, on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    here = str(Path(__file__).resolve())
    processes = [
        subprocess.Popen(
            [sys.executable, here, tmp_path / f"rank-{rank}", tmp_path / "checkpoints"],
            env={**os.environ, **shared, "RANK": str(rank), "PYTHONPATH": str(Path(here).parents[2])},
        )
        for rank in (0, 1)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    results = [(tmp_path / f"rank-{rank}").read_bytes() for rank in (0, 1)]
    assert results[0] == results[1]
    alone = new_model()
    expected = run(alone)
    rows = (next(tmp_path.glob("checkpoints/*/step-7")) / "history.jsonl").read_text().splitlines()
    for one, other in zip(expected.history, map(json.loads, rows), strict=True):
        assert one == pytest.approx(other, rel=1e-4)


if __name__ == "__main__":  # one of the two processes
    trained = new_model()
    run(trained, checkpoints=Path(sys.argv[2]))
    Path(sys.argv[1]).write_bytes(bytes_of(trained))
