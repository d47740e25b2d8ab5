"""Chapter 4: causal multi-head attention (Vaswani et al., 2017): every token looks back at the tokens before it.

q, k and v come from one matrix, as in GPT-2's public checkpoints. There are several ways to the same result, chosen by
device and shapes, never by timing. Milliseconds of one layer's attention, forward + backward, on 2 cores with AMX,
eager (compiled differs little), written out / by scaled_dot_product_attention:

    B, H, T, D          float32       bfloat16      float32, dropout 0.1     bfloat16, dropout 0.1
    8, 4, 256, 64       16.7 / 12.4    7.3 / 10.9       26.2 / 34.8              13.0 / 34.3
    2, 12, 256, 64      10.7 /  9.2    6.1 /  7.9       15.9 / 23.6              10.6 / 26.4
    1, 12, 1024, 64     171  /   48     56 /   31

Written out in stretches of queries (`CausalAttention`), a whole step of the default model, not compiled, takes 72 ms
instead of 106. Forward only, the fused function takes 40 to 60 % of the time of writing it out at any length: what is
frozen, or only evaluated, uses it.

Where only a few positions ask (a classifier's last block reads one of each row), not even keys and values are computed:
a score q · (W x) is (q W) · x, and a weighted mean of values is the value of the mean.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt.config import GPTConfig
from gpt.dropout import Dropout
from gpt.kv_cache import KVCache

WORTH_FOLDING = 1_000_000  # multiplications that must be saved: small tensors cost their operators, not their numbers


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
        if cache is None and read is not None and self._folding_pays(x, read):
            return self.projection(self._attend_folded(x, mask, read))
        qkv = self.qkv(x)
        if cache is None and read is None and self._in_stretches(qkv):
            return self.projection(CausalAttention.apply(qkv, mask, self.head_dim))
        q, k, v = (part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
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

    def _folding_pays(self, x: Tensor, read: Tensor) -> bool:
        """Whether so few positions ask that projecting their queries back is cheaper than projecting every token.

        With adapters on it, qkv is no single matrix; and dropout leaves weights whose sum is not 1.
        """
        rows, length, width = x.shape
        n_heads = width // self.head_dim
        saved = 2 * rows * width * (length * width - read.size(1) * (width + length * n_heads))
        return type(self.qkv) is nn.Linear and not self.weights_dropout.active and saved >= WORTH_FOLDING

    def _attend_folded(self, x: Tensor, mask: Tensor | None, read: Tensor) -> Tensor:
        """x (B, T, C), read (B, R) -> (B, R, C), as if keys and values of all of x had been computed.

        A bias of the keys adds the same to all of a query's scores, which softmax doesn't see.
        """
        rows, asking = read.shape
        w_q, w_k, w_v = self.qkv.weight.chunk(3)
        b_q, _, b_v = (None, None, None) if self.qkv.bias is None else self.qkv.bias.chunk(3)
        q = F.linear(x.gather(1, read[:, :, None].expand(-1, -1, x.size(2))), w_q, b_q) * self.head_dim**-0.5
        x = x.to(q.dtype)
        per_head = q.flatten(0, 1).unflatten(-1, (-1, self.head_dim)).transpose(0, 1)  # (H, B · R, D)
        folded = (per_head @ w_k.unflatten(0, (-1, self.head_dim))).unflatten(1, (rows, asking))  # (H, B, R, C)
        scores = (folded.permute(1, 2, 0, 3).flatten(1, 2) @ x.mT).unflatten(1, (asking, -1))  # (B, R, H, T)
        if mask is not None:
            scores = scores.masked_fill(~mask.transpose(1, 2), float("-inf"))
        means = scores.softmax(dim=-1).flatten(1, 2) @ x  # (B, R · H, C)
        per_head = means.view(rows * asking, -1, x.size(2)).transpose(0, 1)  # (H, B · R, C)
        values = per_head @ w_v.unflatten(0, (-1, self.head_dim)).mT  # (H, B · R, D)
        mixed = values.transpose(0, 1).reshape(rows, asking, -1)
        return mixed if b_v is None else mixed + b_v

    def _in_stretches(self, qkv: Tensor) -> bool:
        """Where written out is faster and nothing is dropped: the compiler arranges the rest better by itself."""
        if self.weights_dropout.active or torch.compiler.is_compiling():
            return False
        return self._written_out_is_faster(qkv)

    def _written_out_is_faster(self, q: Tensor) -> bool:
        """On a CPU: with dropout (the fused function has none there), or short, in bfloat16, and to be learned from."""
        if q.device.type != "cpu":
            return False
        return self.weights_dropout.active or (q.requires_grad and q.dtype == torch.bfloat16 and q.size(-2) <= 512)


def attend_written_out(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: Dropout) -> Tensor:
    """softmax(q·k / sqrt(D)) · v, as the chapter writes it: q (B, H, T, D), k and v (B, H, S, D) -> (B, H, T, D)."""
    scores = (q * q.size(-1) ** -0.5) @ k.transpose(-2, -1)  # (B, H, T, S); scaling q is cheaper than scaling scores
    if mask is not None:
        scores += additive(mask, scores)
    elif q.size(2) > 1:
        scores += scores.new_full((), float("-inf")).expand(q.size(2), k.size(2)).triu(1)
    return dropout(scores.softmax(dim=-1)) @ v


STRETCH = 128  # queries


class CausalAttention(torch.autograd.Function):
    """The same for whole texts on a CPU, a stretch of queries at a time, each only against the keys up to its end.

    Heads are laid out once on the way in and once on the way out, forward and backward; autograd's way through the
    operators above takes three copies for each, and works on the half of the scores that nobody may see.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, mask: Tensor | None, head_dim: int) -> Tensor:
        """qkv (B, T, 3C), mask (B or 1, 1, T, T) that lets no query look ahead -> (B, T, C)."""
        rows, length, _ = qkv.shape
        heads = qkv.view(rows, length, 3, -1, head_dim).permute(2, 0, 3, 1, 4)  # (3, B, H, T, D)
        heads = heads.clone(memory_format=torch.contiguous_format)
        heads[0] *= head_dim**-0.5
        q, k, v = heads.flatten(1, 2)  # (B · H, T, D) each
        mixed = qkv.new_empty(rows, length, heads.size(2), head_dim)
        weights = []
        for begin, end in stretches(length):
            scores = (q[:, begin:end] @ k[:, :end].mT).view(rows, -1, end - begin, end)
            if mask is not None:
                scores += additive(mask[:, :, begin:end, :end], scores)
            else:  # only the last keys are partly hidden
                scores[..., begin:] += scores.new_full((), float("-inf")).expand(end - begin, end - begin).triu(1)
            weights.append(scores.softmax(dim=-1).flatten(0, 1))
            mixed[:, begin:end] = (weights[-1] @ v[:, :end]).view(rows, -1, end - begin, head_dim).transpose(1, 2)
        ctx.save_for_backward(heads, *weights)
        return mixed.flatten(2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        heads, *weights = ctx.saved_tensors
        _, rows, n_heads, length, head_dim = heads.shape
        q, k, v = heads.flatten(1, 2)
        mixed = gradient.view(rows, length, n_heads, head_dim).transpose(1, 2).flatten(0, 1)  # (B · H, T, D)
        found = torch.empty_like(heads)
        of_q, of_k, of_v = found.flatten(1, 2)
        for (begin, end), weight in reversed(list(zip(stretches(length), weights, strict=True))):
            here = mixed[:, begin:end]
            scores = torch._softmax_backward_data(here @ v[:, :end].mT, weight, -1, weight.dtype)
            torch.mul(scores @ k[:, :end], head_dim**-0.5, out=of_q[:, begin:end])
            for whole, part in ((of_k, scores.mT @ q[:, begin:end]), (of_v, weight.mT @ here)):
                if end == length:  # the first to be met: it reaches every key
                    whole.copy_(part)
                else:
                    whole[:, :end] += part
        return found.permute(1, 3, 0, 2, 4).reshape(rows, length, -1), None, None


def stretches(length: int) -> list[tuple[int, int]]:
    """Where each stretch begins and ends: 320 -> (0, 128), (128, 256), (256, 320)."""
    return [(begin, min(begin + STRETCH, length)) for begin in range(0, length, STRETCH)]


def additive(mask: Tensor, like: Tensor) -> Tensor:
    """0 where a query may look, -inf where not: added in place, for filling through a mask is slow and takes a copy."""
    return torch.where(mask, like.new_zeros(()), like.new_full((), float("-inf")))
