"""Chapter 3: a token becomes a vector: what it is, plus where it stands."""

from __future__ import annotations

from torch import Tensor, nn

from gpt.config import GPTConfig
from gpt.dropout import Dropout


class Embeddings(nn.Module):
    """Learned token embedding plus learned position embedding."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.token = nn.Embedding(config.vocab_size, config.emb_dim)
        self.position = nn.Embedding(config.context_length, config.emb_dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """tokens (B, T) at positions (B or 1, T) -> (B, T, C)."""
        return self.dropout(self.token(tokens) + self.position(positions))
