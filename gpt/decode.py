"""Chapter 6, made fast: what the model computes for one new token of each text.

It is `GPT.hidden` and the head for rows of one token, number for number up to rounding. A token's arithmetic is little,
so what stands around it is most of the time: here the modules' weights are looked up once for all tokens, no mask is
made where nothing is padded, and no tensor has a dimension for the one column. A text alone is a vector, and its
products are matrix times vector. The default model's token takes half the time (`make bench NAME=generation`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt.attention import additive
from gpt.block import Block
from gpt.kv_cache import KVCache
from gpt.model import GPT

Function = Callable[[Tensor], Tensor]


class Decoder:
    """The model for `rows` texts of which the cache holds all tokens but the newest.

    padding (rows,): how many columns on the left of each text are padding.
    """

    def __init__(self, model: GPT, cache: KVCache, rows: int, padding: Tensor | None = None) -> None:
        self.cache, self.rows, self.padding = cache, rows, padding
        self.tokens, self.positions = model.embeddings.token.weight, model.embeddings.position.weight
        self.heads = (model.config.n_heads, 1, model.config.head_dim)
        self.blocks = [functions(block, rows == 1) for block in model.blocks]
        self.norm, self.head = bound(model.final_norm), bound(model.head, rows == 1)

    def __call__(self, tokens: Tensor) -> Tensor:
        """The newest tokens (B,) -> what may follow them (B, V). The context must have room for them."""
        column = self.cache.length
        new, keys, values = self.cache.one_more()
        mask: Tensor | None = None
        position: int | Tensor = column
        if self.padding is not None:
            seen = torch.arange(column + 1, device=tokens.device) >= self.padding[:, None]  # (B, S)
            mask, position = additive(seen, self.positions)[:, None, None], column - self.padding
        x = self.tokens[tokens] + self.positions[position]  # (B, C)
        if self.rows == 1:
            x = x[0]  # (C,)
        for layer, (norm1, qkv, projection, norm2, expand, gelu, contract) in enumerate(self.blocks):
            mixing = qkv(norm1(x)).view(self.rows, 3, *self.heads).transpose(0, 1)  # q, k and v, each (B, H, 1, D)
            new[layer].copy_(mixing[1:])
            mixed = F.scaled_dot_product_attention(mixing[0], keys[layer], values[layer], attn_mask=mask)
            x = x + projection(mixed.reshape(x.shape))
            x = x + contract(gelu(expand(norm2(x))))
        self.cache.length = column + 1
        return self.head(self.norm(x)).view(self.rows, -1)


def functions(block: nn.Module, alone: bool) -> tuple[Function, ...]:
    """A block's steps in their order; alone: on a vector instead of rows."""
    assert isinstance(block, Block)
    attention, feed_forward = block.attention, block.feed_forward
    mixing = (bound(block.norm1), bound(attention.qkv, alone), bound(attention.projection, alone))
    expand, contract = bound(feed_forward.expand, alone), bound(feed_forward.contract, alone)
    return (*mixing, bound(block.norm2), expand, feed_forward.gelu.forward, contract)


def bound(module: nn.Module, alone: bool = False) -> Function:
    """The module as a function that needs not look up its weights; modules of other kinds as they are."""
    if type(module) is nn.LayerNorm:
        shape, weight, bias, eps = module.normalized_shape, module.weight, module.bias, module.eps
        return partial(F.layer_norm, normalized_shape=list(shape), weight=weight, bias=bias, eps=eps)
    if type(module) is not nn.Linear:
        return module
    if not alone:
        return partial(F.linear, weight=module.weight, bias=module.bias)
    return partial(torch.mv, module.weight) if module.bias is None else partial(torch.addmv, module.bias, module.weight)
