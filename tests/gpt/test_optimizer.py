"""AdamW and Muon, the schedule, and its state as tensors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gpt.config import GPTConfig
from gpt.model import GPT
from gpt.muon import Muon, orthogonal
from gpt.optimizer import adamw, learning_rate_at, optimizer_tensors, optimizers, restore_optimizers

TINY = GPTConfig(vocab_size=11, context_length=8, emb_dim=8, n_heads=2, n_layers=1, dropout=0.0, tie_embeddings=True)


def trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def test_only_matrices_decay_and_frozen_parameters_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    model[0].weight.requires_grad_(False)
    groups = adamw(trained(model), 0.1, 0.5, (0.9, 0.95)).param_groups
    found = {name: group["weight_decay"] for group in groups for name in group["param_names"]}
    assert found == {"2.weight": 0.5, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0, "2.bias": 0.0}


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_nothing_to_train(kind: str) -> None:
    with pytest.raises(ValueError, match="every parameter of the model is frozen"):
        optimizers(nn.Linear(2, 2).requires_grad_(False), kind, 0.1, 0.0, (0.9, 0.95))


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


def test_muon_takes_the_matrices_of_the_blocks_and_nothing_else() -> None:
    muon, rest = optimizers(GPT(TINY), "muon", 0.1, 0.1, (0.9, 0.95))
    taken = {name for group in muon.param_groups for name in group["param_names"]}
    kinds = ("attention.qkv", "attention.projection", "feed_forward.expand", "feed_forward.contract")
    assert taken == {f"blocks.0.{kind}.weight" for kind in kinds}
    left = {name for group in rest.param_groups for name in group["param_names"]}
    assert taken | left == {name for name, _ in GPT(TINY).named_parameters()} and not taken & left
    with pytest.raises(ValueError, match="it must be adamw or muon"):
        optimizers(GPT(TINY), "sgd", 0.1, 0.1, (0.9, 0.95))


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 12), (2, 12, 6)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonal_updates_keep_directions_and_even_out_sizes(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    found = orthogonal(matrices.to(dtype)).float()
    sizes = torch.linalg.svdvals(found)
    assert found.shape == matrices.shape and sizes.max() < 1.5 and sizes[:, :-2].min() > 0.5
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    in_their_frame = left.mT @ found @ right.mT
    assert (in_their_frame - torch.diag_embed(in_their_frame.diagonal(dim1=1, dim2=2))).abs().max() < 0.1


def test_queries_keys_and_values_are_three_matrices() -> None:
    model = GPT(TINY)
    qkv = model.blocks[0].attention.qkv.weight
    before = qkv.detach().clone()
    qkv.grad = torch.cat([torch.eye(8) * 1e3, torch.eye(8), torch.eye(8) * 1e-2])
    optimizers(model, "muon", 0.1, 0.0, (0.9, 0.95))[0].step()
    moved = [part.norm().item() for part in (before - qkv.detach()).chunk(3)]
    assert max(moved) < 1.01 * min(moved)


def test_what_is_no_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="Muon is for matrices: bias"):
        Muon([("bias", nn.Parameter(torch.zeros(3)))], 0.1, 0.0, 0.9)


def test_muon_moves_every_direction_alike() -> None:
    model = GPT(TINY)
    weight = model.blocks[0].attention.projection.weight
    before = weight.detach().clone()
    weight.grad = torch.diag(torch.tensor([1e3, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1e-1]))
    optimizers(model, "muon", 0.1, 0.0, (0.9, 0.95))[0].step()
    sizes = torch.linalg.svdvals(before - weight.detach())
    assert sizes[0] < 2 * sizes[5]  # of the gradient's 1,000 to 1, next to nothing is left


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_state_comes_back(kind: str) -> None:
    def fresh() -> tuple[GPT, list[torch.optim.Optimizer]]:
        model = GPT(TINY)
        return model, optimizers(model, kind, 0.1, 0.1, (0.9, 0.95))

    def step(model: GPT, used: list[torch.optim.Optimizer]) -> None:
        model(torch.arange(8)[None]).pow(2).sum().backward()
        for optimizer in used:
            optimizer.step()
            optimizer.zero_grad()

    model, used = fresh()
    for _ in range(3):
        step(model, used)
    other, restored = fresh()
    other.load_state_dict(model.state_dict())
    restore_optimizers(restored, {name: value.clone() for name, value in optimizer_tensors(used).items()})
    step(model, used)
    step(other, restored)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    after, before = optimizer_tensors(restored), optimizer_tensors(used)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in after)
