"""The chunked cross-entropy is torch's own, value and gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gpt import loss
from gpt.loss import IGNORED, language_model_loss


def scored(dtype: torch.dtype, vocab_size: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(3)
    logits = (3 * torch.randn(3, 7, vocab_size, generator=draws)).to(dtype).requires_grad_()
    targets = torch.randint(0, vocab_size, (3, 7), generator=draws)
    targets[1, 2:5] = IGNORED
    return logits, targets


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("chunk", [1, 170, 1 << 19])
def test_loss_and_gradient_are_those_of_torch_in_float32(monkeypatch, dtype, chunk):
    monkeypatch.setattr(loss, "CHUNK", chunk)
    logits, targets = scored(dtype)
    nats, count = language_model_loss(logits, targets)
    (gradient,) = torch.autograd.grad(nats * 0.5, logits)

    reference = logits.detach().clone().requires_grad_()
    expected = F.cross_entropy(
        reference.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    (wanted,) = torch.autograd.grad(expected * 0.5, reference)
    torch.testing.assert_close(nats, expected)
    torch.testing.assert_close(gradient, wanted)
    assert count == 18
    assert gradient.dtype == dtype


def test_masked_targets_teach_nothing():
    logits, targets = scored(torch.float32)
    nats, _ = language_model_loss(logits, targets)
    (gradient,) = torch.autograd.grad(nats, logits)
    assert gradient[1, 2:5].abs().max() == 0
    assert gradient[1, 5:].abs().min() > 0


def test_without_gradients_none_is_kept():
    logits, targets = scored(torch.float32)
    with torch.no_grad():
        nats, _ = language_model_loss(logits, targets)
    assert not nats.requires_grad
