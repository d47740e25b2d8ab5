"""Chapters 3 to 5 put together: embeddings, a stack of blocks, a final norm, and a head that scores the vocabulary.

`Transformer` is what every model of this project shares; `GPT` adds the language model's head, `heads.Classifier` a
classifier's. The weights begin as GPT-2's did (Radford et al., 2019).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt.block import Block
from gpt.config import GPTConfig
from gpt.embeddings import Embeddings
from gpt.initialization import initialize
from gpt.kv_cache import KVCache


class Transformer(nn.Module):
    """From tokens to one vector a token; what to do with the vectors is the head's business."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.final_norm = nn.LayerNorm(config.emb_dim, eps=1e-5)

    def hidden(
        self,
        tokens: Tensor,
        cache: KVCache | None = None,
        padding: Tensor | None = None,
        read: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """tokens (B, T) int64 -> (B, T, C), after the final norm; or what `stream` made of them (B, T, C) -> the same.

        cache: the tokens before these; this call adds its own. padding (B,): how many columns on the left of each row,
        counted from the cache's beginning, are padding. read (B, R): some positions of each row, which then are all
        that the last block computes: -> (B, R, C). positions (B, T), for rows packed with several texts: each text's
        count from 0, and see only itself. Raises ValueError when the text outgrows the context.
        """
        start = cache.length if cache is not None else 0
        end = start + tokens.size(1)
        if end > self.config.context_length:
            raise ValueError(f"a text of {end} tokens: this model's context is {self.config.context_length} at most")
        columns = torch.arange(start, end, device=tokens.device)[None]  # (1, T)
        plain = padding is None and (start == 0 or tokens.size(1) == 1)
        mask = None if plain else visible(columns, end, padding)
        if positions is not None:
            mask = within_segments(positions)
        else:
            positions = columns if padding is None else (columns - padding[:, None]).clamp(min=0)
        x = tokens if tokens.is_floating_point() else self.stream(tokens, positions, mask, cache)
        if read is not None and mask is not None:
            queries = mask.expand(len(read), -1, -1, -1)
            mask = queries.gather(2, read[:, None, :, None].expand(-1, 1, -1, mask.size(3)))
        elif read is not None:
            mask = visible(start + read, end, None)
        x = self.blocks[-1](x, mask, cache, read)
        if cache is not None:
            cache.length = end
        return self.final_norm(x)

    def stream(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """tokens (B, T) int64 -> (B, T, C): the embeddings and every block but the last."""
        if positions is None:
            positions = torch.arange(tokens.size(1), device=tokens.device)[None]
        x = self.embeddings(tokens, positions)
        for block in self.blocks[:-1]:
            x = block(x, mask, cache)
        return x

    @property
    def n_parameters(self) -> int:
        """How many numbers there are to train, a shared one counted once."""
        return sum(p.numel() for p in self.parameters())

    def training_operations(self, tokens: int) -> float:
        """Floating-point operations in the blocks to learn from so many tokens: 6 a parameter and token."""
        return 6.0 * sum(p.numel() for p in self.blocks.parameters()) * tokens

    def initialize(self, generator: torch.Generator | None = None) -> None:
        """Fresh weights (`gpt/initialization.py`), drawn from `generator` (on the CPU; None: a new one seeded with 0).

        Nothing on the meta device.
        """
        if not next(self.parameters()).is_meta:
            initialize(self, generator if generator is not None else torch.Generator().manual_seed(0))


class GPT(Transformer):
    """The language model: for every position, a score for each token that could come next."""

    def __init__(self, config: GPTConfig, generator: torch.Generator | None = None) -> None:
        super().__init__(config)
        self.head = nn.Linear(config.emb_dim, config.vocab_size, bias=False)
        self.tie()
        self.initialize(generator)

    def tie(self) -> None:
        """Let head and token embedding be one matrix where the configuration says so."""
        if self.config.tie_embeddings:
            self.head.weight = self.embeddings.token.weight

    def forward(
        self,
        tokens: Tensor,
        cache: KVCache | None = None,
        padding: Tensor | None = None,
        positions: Tensor | None = None,
        read: Tensor | None = None,
    ) -> Tensor:
        """tokens (B, T) int64 -> logits (B, T or R, vocab_size); the arguments are those of `hidden`."""
        hidden = self.hidden(tokens, cache, padding, read, positions)
        if hidden.device.type == "cuda" and hidden.size(1) > 1 and isinstance(self.head, nn.Linear):
            return padded_product(hidden, self.head.weight)
        return self.head(hidden)


def padded_product(x: Tensor, weight: Tensor, multiple: int = 128) -> Tensor:
    """x (..., C) · weight (V, C) -> (..., V), with rows of zeros below the weight up to a multiple, left out again.

    A GPU's matrix units take whole tiles, and 50,257 is an odd number. One new token's product only waits for memory:
    there the copy would cost more.
    """
    wanted = weight.size(0)
    return F.linear(x, F.pad(weight, (0, 0, 0, -wanted % multiple)))[..., :wanted]


def visible(queries: Tensor, n_keys: int, padding: Tensor | None) -> Tensor:
    """Who may look at whom: (B or 1, 1, T, n_keys) of bool, True where a query may look at a key.

    queries (B or 1, T): the columns that ask. Each looks at itself and at what stands before it, but not at padding. A
    padding column sees itself, so that no softmax runs over nothing (that would be NaN); nobody else sees it.
    """
    keys = torch.arange(n_keys, device=queries.device)
    mask = keys <= queries[:, :, None]
    if padding is not None:
        mask = mask & (keys >= padding[:, None, None]) | (keys == queries[:, :, None])
    return mask[:, None]


def within_segments(positions: Tensor) -> Tensor:
    """positions (B, T) -> (B, 1, T, T) of bool: a query sees what stands before it in its own segment; 0 begins one."""
    segments = (positions == 0).cumsum(dim=-1)
    mask = (segments[:, :, None] == segments[:, None, :]).tril()
    return mask[:, None]
