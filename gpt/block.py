"""Chapter 5: the transformer block: attention, then a feed-forward network, each on a branch off the residual stream.

Pre-norm, as in GPT-2: a branch reads a normalized copy of the stream and adds its result, so the stream itself
runs undisturbed from the embeddings to the head and gradients pass back through it unchanged.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gpt.attention import Attention
from gpt.config import GPTConfig
from gpt.dropout import Dropout
from gpt.kv_cache import KVCache


class FeedForward(nn.Module):
    """Two linear layers with GELU (tanh form, as in GPT-2) between them, four times as wide inside."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.expand = nn.Linear(config.emb_dim, 4 * config.emb_dim)
        self.gelu = nn.GELU(approximate="tanh")
        self.contract = nn.Linear(4 * config.emb_dim, config.emb_dim)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, C) -> (B, T, C), each position by itself."""
        if self._fuses(x):  # GELU alone costs a CPU more than both products: oneDNN works it in while it multiplies
            x, weight, bias = (tensor.bfloat16() for tensor in (x, self.expand.weight, self.expand.bias))
            return self.contract(torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "tanh"))
        gelu = gelu_by_sigmoid if torch.compiler.is_compiling() else self.gelu
        return self.contract(gelu(self.expand(x)))

    def _fuses(self, x: Tensor) -> bool:
        """In bfloat16 on a CPU that has it, where nobody will ask for gradients."""
        if x.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return False
        if not torch.is_autocast_enabled("cpu") or torch.get_autocast_dtype("cpu") != torch.bfloat16:
            return False
        return type(self.expand) is nn.Linear and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def gelu_by_sigmoid(x: Tensor) -> Tensor:
    """GELU's tanh form for compiled code: (1 + tanh u) / 2 is sigmoid(2u), and an exp takes it less time than a tanh.

    A compiled step of the default model took 51 ms, before 64 (`make bench NAME=training`, 2 cores with AMX).
    """
    wide = x.float()
    inner = math.sqrt(2 / math.pi) * wide * (1 + 0.044715 * wide * wide)
    return (wide * torch.sigmoid(2 * inner)).to(x.dtype)


class Block(nn.Module):
    """One layer of the model."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.emb_dim, eps=1e-5)
        self.attention = Attention(config, layer)
        self.norm2 = nn.LayerNorm(config.emb_dim, eps=1e-5)
        self.feed_forward = FeedForward(config)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, cache: KVCache | None = None, read: Tensor | None = None
    ) -> Tensor:
        """x (B, T, C) -> (B, T, C); with `read` (B, R), only those positions of each row go on: -> (B, R, C)."""
        attended = self.attention(self.norm1(x), mask, cache, read)
        if read is not None:
            x = x.gather(1, read[:, :, None].expand(-1, -1, x.size(2)))
        x = x + self.dropout(attended)
        return x + self.dropout(self.feed_forward(self.norm2(x)))
