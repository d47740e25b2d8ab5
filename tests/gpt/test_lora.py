"""LoRA: it starts as the base, learns in its adapters alone, and merges into the same function."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gpt.config import GPTConfig
from gpt.heads import Classifier, n_trainable
from gpt.lora import LoRALinear, add_lora, lora_layers, lora_state, merge_lora
from gpt.model import GPT

TEXT = torch.arange(24).view(2, 12)


def gpt(tied: bool = False) -> GPT:
    config = GPTConfig(64, 16, 32, 4, 2, dropout=0.0, qkv_bias=True, tie_embeddings=tied)
    return GPT(config, torch.Generator().manual_seed(1))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(9)


def train_a_little(model: nn.Module) -> None:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    for _ in range(3):
        optimizer.zero_grad()
        model(TEXT).square().mean().backward()
        optimizer.step()


def test_published_trainable_counts() -> None:
    with torch.device("meta"):
        classifier = Classifier(GPTConfig(qkv_bias=True), ["ham", "spam"])
        medium = GPT(GPTConfig(emb_dim=1024, n_layers=24, n_heads=16))
    assert add_lora(classifier, 16, 16.0, 0.0, seeded()) == n_trainable(classifier) == 2_666_528
    assert add_lora(medium, 16, 16.0, 0.0, seeded()) == 7_898_384


def test_it_starts_as_the_base_exactly() -> None:
    base, adapted = gpt(), gpt()
    add_lora(adapted, 4, 8.0, 0.3, seeded())
    assert torch.equal(adapted.train()(TEXT), base(TEXT))


def test_every_linear_layer_has_adapters_and_qkv_three() -> None:
    model = gpt()
    add_lora(model, 4, 8.0, 0.0, seeded())
    parts = {name: layer.lora_b.size(0) for name, layer in lora_layers(model).items()}
    assert len(parts) == 2 * 4 + 1
    assert {name for name, n in parts.items() if n == 3} == {"blocks.0.attention.qkv", "blocks.1.attention.qkv"}
    assert set(lora_state(model)) == {n for n, p in model.named_parameters() if p.requires_grad}


def test_a_part_of_qkv_has_an_adapter_of_its_own() -> None:
    layer = LoRALinear(nn.Linear(6, 9, bias=False), 2, 2.0, 0.0, 3, seeded())
    with torch.no_grad():
        layer.lora_b[1].normal_(generator=seeded())  # only k's
    x = torch.ones(1, 6)
    changed = (layer(x) - layer.base(x))[0]
    assert torch.equal(changed[:3], torch.zeros(3)) and torch.equal(changed[6:], torch.zeros(3))
    torch.testing.assert_close(changed[3:6], layer.lora_b[1] @ (layer.lora_a[2:4] @ x[0]))


@pytest.mark.parametrize("tied", [False, True])
def test_merged_equals_adapted_and_only_adapters_learned(tied: bool) -> None:
    base, model = gpt(tied), gpt(tied)
    add_lora(model, 4, 8.0, 0.0, seeded())
    train_a_little(model)
    adapted = model(TEXT)
    assert not torch.allclose(adapted, base(TEXT), atol=1e-4)
    frozen = {name.replace(".base.", "."): p for name, p in model.named_parameters() if not p.requires_grad}
    assert all(torch.equal(p, frozen[name]) for name, p in base.named_parameters() if name in frozen)
    merge_lora(model)
    torch.testing.assert_close(model(TEXT), adapted, rtol=1e-5, atol=1e-6)
    assert not lora_layers(model)
    assert torch.equal(model.embeddings.token.weight, base.embeddings.token.weight)
    assert not model.config.tie_embeddings


def test_the_generator_decides_the_start() -> None:
    first, second = gpt(), gpt()
    add_lora(first, 4, 8.0, 0.0, seeded())
    torch.manual_seed(77)
    add_lora(second, 4, 8.0, 0.0, seeded())
    assert all(torch.equal(tensor, lora_state(second)[name]) for name, tensor in lora_state(first).items())
    bound = 32**-0.5  # Kaiming-uniform with a = sqrt(5) on 32 inputs
    a = lora_layers(first)["blocks.0.attention.qkv"].lora_a
    assert bound * 0.9 < float(a.detach().abs().max()) <= bound


def test_bad_requests_are_refused() -> None:
    model = gpt()
    with pytest.raises(ValueError, match="rank"):
        add_lora(model, 0, 8.0, 0.0, seeded())
    add_lora(model, 2, 8.0, 0.0, seeded())
    with pytest.raises(ValueError, match="already"):
        add_lora(model, 2, 8.0, 0.0, seeded())


@pytest.mark.parametrize("adapted", [False, True])
def test_a_training_step_compiles_as_one_graph(adapted: bool) -> None:
    """`fullgraph` raises on a graph break; the eager backend needs no C++ compiler."""
    classifier = Classifier(GPTConfig(64, 16, 32, 4, 2, dropout=0.1), ["ham", "spam"]).train()
    if adapted:
        add_lora(classifier, 4, 8.0, 0.1, seeded())
    compiled = torch.compile(classifier, backend="eager", fullgraph=True, dynamic=False)
    torch.manual_seed(0)
    expected = classifier(TEXT, torch.tensor([12, 5]))
    torch.manual_seed(0)
    torch.testing.assert_close(compiled(TEXT, torch.tensor([12, 5])), expected)
