"""Initial weights: what is drawn is tested with the model; here, the sinusoids."""

from __future__ import annotations

import pytest
import torch

from gpt.config import GPTConfig
from gpt.initialization import sinusoids
from gpt.model import GPT

SHAPE = {"vocab_size": 61, "context_length": 64, "emb_dim": 32, "n_heads": 4, "n_layers": 1}


def test_a_step_is_the_same_everywhere_and_neighbours_are_the_nearest() -> None:
    positions = sinusoids(64, 32)
    likeness = positions @ positions.T
    for step in (1, 5):
        along = likeness.diagonal(step)
        assert torch.allclose(along, along[:1].expand(len(along)), atol=1e-4)
    assert (likeness.argmax(dim=1) == torch.arange(64)).all()
    assert sinusoids(8, 7).shape == (8, 7)


def test_only_positions_differ_and_have_the_deviation_that_is_asked_for() -> None:
    drawn, waves = (
        GPT(GPTConfig(**SHAPE, position_init=kind), torch.Generator().manual_seed(1))
        for kind in ("normal", "sinusoids")
    )
    pairs = zip(drawn.named_parameters(), waves.parameters(), strict=True)
    assert [name for (name, a), b in pairs if not torch.equal(a, b)] == ["embeddings.position.weight"]
    assert waves.embeddings.position.weight.std().item() == pytest.approx(0.02, rel=0.25)
    with pytest.raises(ValueError, match="position_init is 'zero': it must be normal or sinusoids"):
        GPTConfig(position_init="zero")
