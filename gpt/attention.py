"""Chapter 4: causal multi-head attention (Vaswani et al., 2017): every token looks back at the tokens before it.

q, k and v come from one matrix, as in GPT-2's public checkpoints. There are two ways to the same result, chosen by
device and never by timing. Milliseconds of one layer's attention, forward + backward, on 2 cores with AMX, eager
(compiled differs little), written out / by scaled_dot_product_attention:

    B, H, T, D          float32       bfloat16      float32, dropout 0.1     bfloat16, dropout 0.1
    8, 4, 256, 64       16.7 / 12.4    7.3 / 10.9       26.2 / 34.8              13.0 / 34.3
    2, 12, 256, 64      10.7 /  9.2    6.1 /  7.9       15.9 / 23.6              10.6 / 26.4
    1, 12, 1024, 64     171  /   48     56 /   31

Forward only, the fused function takes 40 to 60 % of the time at any length: what is frozen, or only evaluated, uses it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt.config import GPTConfig
from gpt.dropout import Dropout
from gpt.kv_cache import KVCache


class Attention(nn.Module):
    """Multi-head self-attention with its output projection."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        self.qkv = nn.Linear(config.emb_dim, 3 * config.emb_dim, bias=config.qkv_bias)
        self.projection = nn.Linear(config.emb_dim, config.emb_dim)
        self.weights_dropout = Dropout(config.dropout)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, cache: KVCache | None = None, read: Tensor | None = None
    ) -> Tensor:
        """x (B, T, C) -> (B, T, C); with `read` (B, R), only those positions of each row ask: -> (B, R, C).

        mask (B or 1, 1, T, S), True where a query may look; without one, position t looks at 0..t.
        """
        q, k, v = (part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)  # (B, H, S, D)
        if read is not None:
            q = q.gather(2, read[:, None, :, None].expand(-1, q.size(1), -1, self.head_dim))  # (B, H, R, D)
        mixed = self._attend(q, k, v, mask)  # (B, H, T, D)
        return self.projection(mixed.transpose(1, 2).flatten(2))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Each query's average of the values, weighted by how well their keys fit: (B, H, T, D)."""
        if self._written_out_is_faster(q):
            return attend_written_out(q, k, v, mask, self.weights_dropout)
        p = self.weights_dropout.p if self.weights_dropout.active else 0.0
        causal = mask is None and q.size(2) > 1  # a single query is the newest token, which may look at everything
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p, is_causal=causal)

    def _written_out_is_faster(self, q: Tensor) -> bool:
        """On a CPU: with dropout (the fused function has none there), or short, in bfloat16, and to be learned from."""
        if q.device.type != "cpu":
            return False
        return self.weights_dropout.active or (q.requires_grad and q.dtype == torch.bfloat16 and q.size(2) <= 512)


def attend_written_out(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: Dropout) -> Tensor:
    """softmax(q·k / sqrt(D)) · v, as the chapter writes it: q (B, H, T, D), k and v (B, H, S, D) -> (B, H, T, D)."""
    scores = (q * q.size(-1) ** -0.5) @ k.transpose(-2, -1)  # (B, H, T, S); scaling q is cheaper than scaling scores
    if mask is None and q.size(2) > 1:
        mask = torch.ones(q.size(2), k.size(2), dtype=torch.bool, device=q.device).tril()
    if mask is not None:  # 0 or -inf is added in place: filling through a mask is slow, and takes a copy
        scores += torch.zeros(mask.shape, dtype=q.dtype, device=q.device).masked_fill_(~mask, float("-inf"))
    return dropout(scores.softmax(dim=-1)) @ v
