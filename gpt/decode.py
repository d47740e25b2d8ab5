"""Chapter 6, made fast: what the model computes for one new token of each text.

It is `GPT.hidden` and the head for a row of one token, number for number up to rounding. There a token's arithmetic is
little, and what stands around it is most of the time: here no positions are looked up, no mask is made and no tensor
has a dimension for the one column. A text alone is a vector, and its matrix products are matrix times vector.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gpt.attention import Attention
from gpt.block import Block
from gpt.kv_cache import KVCache
from gpt.model import GPT


def decode(model: GPT, tokens: Tensor, cache: KVCache, padding: Tensor | None = None) -> Tensor:
    """The newest token of each text (B,) -> what may follow it (B, V); the cache holds all tokens before it.

    padding (B,): how many columns on the left of each row are padding. The context must have room for the token.
    """
    column = cache.length
    mask = None if padding is None else unpadded(column + 1, padding, model.final_norm.weight.dtype)
    x = model.embeddings.token.weight[tokens]  # (B, C)
    x = x + model.embeddings.position.weight[column if padding is None else column - padding]
    if len(tokens) == 1:
        x = x[0]  # (C,)
    for block in model.blocks:
        assert isinstance(block, Block)
        x = x + attend(block.attention, block.norm1(x), cache, mask)
        x = x + block.feed_forward(block.norm2(x))
    cache.length = column + 1
    return model.head(model.final_norm(x)).view(len(tokens), -1)


def attend(attention: Attention, x: Tensor, cache: KVCache, mask: Tensor | None) -> Tensor:
    """x (B, C) or (C,) -> the same shape: each text's newest token looks at all before it."""
    width = attention.head_dim
    q, k, v = attention.qkv(x).view(-1, 3, x.size(-1) // width, 1, width).unbind(1)  # each (B, H, 1, D)
    k, v = cache.extend(attention.layer, k, v)  # (B, H, S, D)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return attention.projection(mixed.reshape(x.shape))


def unpadded(n_keys: int, padding: Tensor, dtype: torch.dtype) -> Tensor:
    """What to add to the scores of the newest tokens, (B, 1, 1, n_keys): -inf where a key is padding, else 0."""
    is_padding = torch.arange(n_keys, device=padding.device) < padding[:, None]
    added = torch.zeros(is_padding.shape, dtype=dtype, device=padding.device)
    return added.masked_fill_(is_padding, float("-inf"))[:, None, None]
