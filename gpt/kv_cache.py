"""The key-value cache: what attention already computed for the tokens so far, so that one new token costs one token.

Without it, generating n tokens attends n times over the whole text. The output is the same with and without it.
"""

from __future__ import annotations

import torch
from torch import Tensor


class KVCache:
    """Keys and values of every block for up to `capacity` tokens a row, written in place.

    The buffers are made at the first write, when batch, precision and device are known.
    """

    def __init__(self, n_layers: int, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0  # tokens held by every block; the model moves it on after its last block
        self.keys: list[Tensor | None] = [None] * n_layers
        self.values: list[Tensor | None] = [None] * n_layers

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append the new tokens' k and v, each (B, H, T, D), and return all so far: two views (B, H, length + T, D)."""
        start, end = self.length, self.length + k.size(2)
        keys, values = self.keys[layer], self.values[layer]
        if keys is None or values is None:
            batch, heads, _, width = k.shape
            keys, values = (k.new_empty(batch, heads, self.capacity, width) for _ in range(2))
            self.keys[layer], self.values[layer] = keys, values
        keys[:, :, start:end] = k
        values[:, :, start:end] = v
        return keys[:, :, :end], values[:, :, :end]

    def keep(self, rows: Tensor) -> None:
        """Keep only the given rows of the batch, in that order: the others have reached their end."""
        for layer, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            if keys is not None and values is not None:
                self.keys[layer] = torch.index_select(keys, 0, rows)
                self.values[layer] = torch.index_select(values, 0, rows)
