"""Chapter 3: a token becomes a vector: what it is, plus where it stands."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gpt.config import GPTConfig
from gpt.dropout import Dropout


class Embeddings(nn.Module):
    """Learned token embedding plus learned position embedding."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.token = empty_embedding(config.vocab_size, config.emb_dim)
        self.position = empty_embedding(config.context_length, config.emb_dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """tokens (B, T) at positions (B or 1, T) -> (B, T, C)."""
        return self.dropout(self.token(tokens) + self.position(positions))


def empty_embedding(count: int, width: int) -> nn.Embedding:
    """Without the weights that PyTorch would draw: the model draws its own, or reads them. On the meta device, where a
    model to be read is made first, even drawing nothing imports PyTorch's compiler: 1.4 s."""
    return nn.Embedding.from_pretrained(torch.empty(count, width), freeze=False)
