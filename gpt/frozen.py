"""Chapter 6: what frozen layers make of a text is the same in every epoch: it is computed once and kept.

With all but the last block frozen (`classify.trainable: last_block` or `head`), most of a step would compute known
numbers again. What is kept is the residual stream in front of the last block, emb_dim numbers a token: 94 MB for 2,800
messages of 44 tokens at a width of 192. It never grows beyond `LARGEST`, and is not kept where dropout would change it:
then every step computes everything, as if this file weren't there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gpt.collate import Row, TokenRows, pad_rows
from gpt.dropout import Dropout
from gpt.evaluate import evaluating
from gpt.model import Transformer
from gpt.runtime import Runtime

LARGEST = 512 * 2**20  # bytes of kept numbers, of all rows of one part


class FrozenRows:
    """Rows as the last block meets them. They are computed in one fixed order, so that a resumed training has the very
    same numbers."""

    def __init__(self, model: Transformer, rows: Sequence[Row], batch_size: int, runtime: Runtime) -> None:
        self.sizes = sizes = np.array([len(row) for row in rows], np.int64)
        starts = np.cumsum(sizes) - sizes
        self.stream = torch.empty(int(sizes.sum()), model.config.emb_dim, device=runtime.device)
        self.lengths, self.starts = torch.from_numpy(sizes), torch.from_numpy(starts)
        order = np.argsort(sizes, kind="stable")
        with evaluating(model, runtime):
            for begin in range(0, len(rows), batch_size):
                chosen = order[begin : begin + batch_size].tolist()
                tokens, _ = pad_rows([rows[row] for row in chosen], pad_id=0)
                for row, found in zip(chosen, model.stream(tokens.to(runtime.device)), strict=True):
                    self.stream[starts[row] : starts[row] + sizes[row]] = found[: sizes[row]]

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, chosen: np.ndarray, width: int | None = None) -> tuple[Tensor, Tensor]:
        """The stream (B, T, C) and lengths (B,); a row is filled up with its last token, which nobody reads there."""
        rows = torch.from_numpy(chosen)
        lengths = self.lengths[rows]
        columns = torch.arange(width or int(lengths.max()))[None]
        places = self.starts[rows][:, None] + torch.minimum(columns, lengths[:, None] - 1)
        return self.stream[places.to(self.stream.device)], lengths


def padded_rows(
    model: Transformer, rows: Sequence[Row], pad_id: int, batch_size: int, runtime: Runtime
) -> TokenRows | FrozenRows:
    """Rows to train a classifier on, kept as its frozen part leaves them where that is right and within `LARGEST`."""
    n_bytes = 4 * model.config.emb_dim * sum(len(row) for row in rows)
    if not stays_as_it_is(model) or n_bytes > LARGEST:
        return TokenRows(rows, pad_id)
    return FrozenRows(model, rows, batch_size, runtime)


def stays_as_it_is(model: Transformer) -> bool:
    """Whether training leaves everything in front of the last block alone, and no dropout is drawn there."""
    parts = [model.embeddings, *model.blocks[:-1]]
    learns = any(p.requires_grad for part in parts for p in part.parameters())
    drops = any(isinstance(module, Dropout) and module.p > 0 for part in parts for module in part.modules())
    return not learns and not drops
