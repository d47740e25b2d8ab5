"""The loss of every step of tiny trainings, as it was when it was written down.

Exact on the platforms that golden.json describes. On others losses are the same to 1e-5, norms of gradients to 1e-4.

python -m tests.gpt.test_golden writes down what this platform finds. Where a change is meant to alter a training's
arithmetic, what other platforms found for it before goes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt.collate import instruction_batch, pad_rows, read_counted
from gpt.config import GPTConfig
from gpt.heads import Classifier, select_trainable
from gpt.lora import add_lora
from gpt.loss import answer_loss, label_loss, next_token_loss
from gpt.model import GPT
from gpt.order import MixedOrder
from gpt.runtime import Runtime
from gpt.seeds import generator, permutation
from gpt.train import Batch, Loss, TrainSettings, train

FILE = Path(__file__).with_name("golden.json")
CPU = Runtime("cpu", "float32", False, 1, "golden")
VOCABULARY, CONTEXT, STEPS, ROWS = 61, 24, 12, 40
SETTINGS: dict[str, Any] = {
    "total_steps": STEPS,
    "min_learning_rate": 1e-3,
    "warmup_steps": 3,
    "weight_decay": 0.1,
    "beta1": 0.9,
    "beta2": 0.98,
    "grad_clip": 1.0,
    "accumulation_steps": 2,
    "eval_interval": 100,
    "checkpoint_interval": 100,
}
Losses = list[dict[str, float]]


def body() -> GPT:
    config = GPTConfig(VOCABULARY, CONTEXT, 32, 2, 2, dropout=0.1, qkv_bias=False, tie_embeddings=True)
    return GPT(config, generator=generator(1, "weights"))


def text(row: int, length: int) -> list[int]:
    """Tokens that follow a rule which can be learned: each line counts on in steps of its own."""
    return [(row * 7 + at * (1 + row % 3)) % (VOCABULARY - 1) for at in range(length)]


def losses(model: torch.nn.Module, loss: Loss, batch_of: Callable[[list[int]], Batch], optimizer: str) -> Losses:
    """Every step's loss and gradient norm."""
    order = MixedOrder(1, (ROWS,))
    settings = TrainSettings(optimizer=optimizer, learning_rate=1e-2, **SETTINGS)
    result = train(
        model,
        loss=loss,
        batch=lambda step, micro: batch_of(order.batch(step * 2 + micro, 4).tolist()),
        settings=settings,
        runtime=CPU,
        seed=3,
    )
    return [{name: row[name] for name in ("loss", "gradient_norm")} for row in result.history]


def pretrain(optimizer: str) -> Losses:
    rows = [text(row, CONTEXT + 1) for row in range(ROWS)]

    def batch(chosen: list[int]) -> Batch:
        tokens, _ = pad_rows([rows[row] for row in chosen], 0)
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    return losses(body(), next_token_loss, batch, optimizer)


def classify(adapters: bool) -> Losses:
    model = Classifier.from_gpt(body(), ["even", "odd"], generator(1, "head"))
    if adapters:
        add_lora(model, 4, 4.0, 0.1, generator(1, "adapters"))
    else:
        select_trainable(model, "last_block")
    order = permutation(ROWS, 5, "lengths").tolist()

    def batch(chosen: list[int]) -> Batch:
        tokens, lengths = pad_rows([text(row, 4 + order[row] % (CONTEXT - 4)) for row in chosen], VOCABULARY - 1)
        return tokens, lengths, torch.tensor([row % 2 for row in chosen])

    return losses(model, label_loss, batch, "adamw")


def instruct() -> Losses:
    def batch(chosen: list[int]) -> Batch:
        rows = [(text(row, 5 + row % 7), text(row + 1, 2 + row % 5)) for row in chosen]
        return read_counted(*instruction_batch(rows, VOCABULARY - 1, mask_prompt=True, max_length=CONTEXT))

    return losses(body(), answer_loss, batch, "adamw")


TRAININGS: dict[str, Callable[[], Losses]] = {
    "pretrain, muon": lambda: pretrain("muon"),
    "pretrain, adamw": lambda: pretrain("adamw"),
    "lora": lambda: classify(adapters=True),
    "classify": lambda: classify(adapters=False),
    "instruct": instruct,
}


def platform() -> dict[str, Any]:
    """What the last digit depends on."""
    known = CPU.describe()
    return {name: known[name] for name in ("capability", "features", "processor", "system", "threads", "torch")}


def golden() -> list[dict[str, Any]]:
    """What each platform found: {"platform", "steps": {training: Losses}}."""
    found: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def alike(mine: Losses, theirs: Losses) -> bool:
    close = {"loss": 1e-5, "gradient_norm": 1e-4}
    pairs = zip(mine, theirs, strict=True)
    return all(
        here[name] == pytest.approx(there[name], rel=by, abs=by) for here, there in pairs for name, by in close.items()
    )


@pytest.mark.parametrize("name", TRAININGS)
def test_every_step_s_loss_is_the_one_written_down(name: str) -> None:
    found = TRAININGS[name]()
    assert len(found) == STEPS
    written = [known for known in golden() if name in known["steps"]]
    assert written
    for known in written:
        assert alike(found, known["steps"][name]), known["platform"]["processor"]
        if known["platform"] == platform():
            assert found == known["steps"][name]


def test_they_learn_and_the_file_says_where_it_is_from() -> None:
    assert golden()
    for known in golden():
        assert set(known["platform"]) == set(platform()) and set(known["steps"]) <= set(TRAININGS)
        for name in {"pretrain, muon", "pretrain, adamw", "instruct"} & set(known["steps"]):
            assert known["steps"][name][-1]["loss"] < known["steps"][name][0]["loss"] - 0.2


if __name__ == "__main__":
    steps = {name: training() for name, training in TRAININGS.items()}
    others = [known for known in golden() if known["platform"] != platform()]
    for known in others:
        known["steps"] = {name: losses for name, losses in known["steps"].items() if alike(steps[name], losses)}
    content = [*(known for known in others if known["steps"]), {"platform": platform(), "steps": steps}]
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{FILE.name}: {len(TRAININGS)} trainings on {platform()}; platforms: {len(content)}\n")
