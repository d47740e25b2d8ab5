"""The key-value cache: what attention already computed for the tokens so far, so that one new token costs one token.

Without it, generating n tokens attends n times over the whole text. The output is the same with and without it.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


class KVCache:
    """Keys and values of every block for up to `capacity` tokens a row, written in place.

    They lie in one buffer (layers, 2, B, H, capacity, D), made at the first write, when its shape, precision and device
    are known.
    """

    def __init__(self, n_layers: int, capacity: int) -> None:
        self.n_layers = n_layers
        self.capacity = capacity
        self.length = 0  # tokens held by every block; the model moves it on after its last block
        self.buffer: Tensor | None = None

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append the new tokens' k and v, each (B, H, T, D), and return all so far: two views (B, H, length + T, D)."""
        start, end = self.length, self.length + k.size(2)
        if self.buffer is None:
            batch, heads, _, width = k.shape
            self.buffer = k.new_empty(self.n_layers, 2, batch, heads, self.capacity, width)
        self.buffer[layer, 0, :, :, start:end] = k
        self.buffer[layer, 1, :, :, start:end] = v
        return self.buffer[layer, 0, :, :, :end], self.buffer[layer, 1, :, :, :end]

    def one_more(self) -> tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]:
        """Room for one token behind those that are held: for each block where its key and value go (2, B, H, 1, D), its
        keys and its values with them, (B, H, length + 1, D): views, all of one shape."""
        assert self.buffer is not None, "the prompt comes first"
        new = self.buffer.narrow(4, self.length, 1)
        keys, values = self.buffer.narrow(4, 0, self.length + 1).unbind(1)
        return new.unbind(0), keys.unbind(0), values.unbind(0)

    def keep(self, rows: Tensor) -> None:
        """Keep only the given rows of the batch, in that order: the others have reached their end."""
        if self.buffer is not None:
            self.buffer = self.buffer.index_select(2, rows)
