"""The shape of a GPT: the numbers that chapters 3 to 5 are about.

A configuration is plain data and checks itself, so that a nonsensical model is refused before any memory is taken.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GPTConfig:
    """The architecture of GPT-2 (Radford et al., 2019); the defaults are its smallest published size.

    Raises ValueError when a number is out of range or the width can't be shared out among the heads.
    """

    vocab_size: int = 50257
    """How many different tokens there are."""
    context_length: int = 1024
    """The longest sequence, in tokens: as many positions have a learned embedding."""
    emb_dim: int = 768
    """Width of the model: the length C of the vector that stands for one token."""
    n_heads: int = 12
    """Attention heads of a block; each works on emb_dim / n_heads numbers."""
    n_layers: int = 12
    """Transformer blocks, one after the other."""
    dropout: float = 0.1
    """Share of numbers zeroed while training: embeddings, attention weights, residual branches."""
    qkv_bias: bool = False
    """Whether queries, keys and values get a bias (the public GPT-2 checkpoints do)."""
    tie_embeddings: bool = False
    """Whether the vocabulary's head is the token embedding's own matrix (it is in the public checkpoints)."""

    embedding_std: float = 0.02
    """Deviation of fresh token and position embeddings: GPT-2's 0.02, or 1, as the book's model (PyTorch's default) has
    and learns faster with where the head has a matrix of its own."""
    position_init: str = "normal"
    """Fresh position embeddings: "normal" draws, as GPT-2's, or "sinusoids" of the same deviation."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "emb_dim", "n_heads", "n_layers"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"model.{name} is {value!r}: it must be a whole number of at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"model.dropout is {self.dropout!r}: it must be at least 0 and below 1")
        if not 0.0 < self.embedding_std <= 10.0:
            raise ValueError(f"model.embedding_std is {self.embedding_std!r}: it must be above 0 and at most 10")
        if self.position_init not in ("normal", "sinusoids"):
            raise ValueError(f"model.position_init is {self.position_init!r}: it must be normal or sinusoids")
        if self.emb_dim % self.n_heads:
            raise ValueError(
                f"model.emb_dim is {self.emb_dim}: it must be divisible by model.n_heads, which is {self.n_heads}"
            )

    @property
    def head_dim(self) -> int:
        """Width D of one attention head."""
        return self.emb_dim // self.n_heads
