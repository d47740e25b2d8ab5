"""The weights a model begins with: GPT-2's, with position embeddings that are drawn or sinusoids.

Of sinusoids the step from one position to the next is the same rotation everywhere, so that looking one token back,
with which copying from a text begins (Olsson et al., 2022, arXiv:2209.11895), need not be learned place by place. They
are trained like any weight, and the architecture is GPT-2's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from gpt.model import Transformer


@torch.no_grad()
def initialize(model: Transformer, generator: torch.Generator) -> None:
    """Radford et al. (2019): normal with deviation 0.02 (embeddings: `embedding_std`), biases zero.

    What is added to the residual stream, 2 · n_layers times, is smaller by the root of that number, so that the
    stream's variance does not grow with depth. All is drawn from `generator` (on the CPU).
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            on_residual = name.endswith((".projection", ".contract"))
            deviation = 0.02 / (2 * model.config.n_layers) ** 0.5 if on_residual else 0.02
            if isinstance(module, nn.Embedding):
                deviation = model.config.embedding_std
            module.weight.normal_(std=deviation, generator=generator)
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.zero_()
    if model.config.position_init == "sinusoids":
        weight = model.embeddings.position.weight
        weight.copy_(sinusoids(*weight.shape) * model.config.embedding_std * 2**0.5)  # a sine's deviation is 1/√2


def sinusoids(positions: int, width: int) -> Tensor:
    """(positions, width): sines, then cosines (Vaswani et al., 2017, section 3.5), of frequencies from 2 down to 0.01 a
    token, which suit contexts of hundreds of tokens."""
    half = (width + 1) // 2
    angles = torch.arange(positions)[:, None] * 2.0 * 0.005 ** (torch.arange(half) / half)
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]
