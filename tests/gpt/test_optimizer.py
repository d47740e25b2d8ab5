"""AdamW, its schedule, and its state as tensors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gpt.optimizer import adamw, learning_rate_at, optimizer_tensors, restore_optimizer


def test_only_matrices_decay_and_frozen_parameters_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    model[0].weight.requires_grad_(False)
    groups = adamw(model, 0.1, 0.5, (0.9, 0.95)).param_groups
    found = {name: group["weight_decay"] for group in groups for name in group["param_names"]}
    assert found == {"2.weight": 0.5, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0, "2.bias": 0.0}


def test_nothing_to_train() -> None:
    with pytest.raises(ValueError, match="every parameter of the model is frozen"):
        adamw(nn.Linear(2, 2).requires_grad_(False), 0.1, 0.0, (0.9, 0.95))


def test_schedule() -> None:
    def at(step: int) -> float:
        return learning_rate_at(step, peak=1.0, minimum=0.1, warmup_steps=4, total_steps=12)

    assert [at(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert at(4) == 1.0
    assert at(8) == pytest.approx(0.55)
    assert at(12) == pytest.approx(0.1)
    rates = [at(step) for step in range(4, 13)]
    assert rates == sorted(rates, reverse=True)
    assert learning_rate_at(0, peak=1.0, minimum=1.0, warmup_steps=0, total_steps=0) == 1.0


def test_state_comes_back() -> None:
    def fresh() -> tuple[nn.Module, torch.optim.AdamW]:
        model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
        for parameter in model.parameters():
            nn.init.constant_(parameter, 0.3)
        return model, adamw(model, 0.1, 0.1, (0.9, 0.95))

    def step(model: nn.Module, optimizer: torch.optim.AdamW) -> None:
        model(torch.ones(2, 3)).pow(2).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    model, optimizer = fresh()
    for _ in range(3):
        step(model, optimizer)
    other, restored = fresh()
    other.load_state_dict(model.state_dict())
    restore_optimizer(restored, {name: value.clone() for name, value in optimizer_tensors(optimizer).items()})
    step(model, optimizer)
    step(other, restored)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    after, before = optimizer_tensors(restored), optimizer_tensors(optimizer)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in after)
