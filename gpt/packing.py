"""Chapter 2: whole documents packed into rows, none of which can see its neighbours.

Windows that slide over a corpus cut documents anywhere: a model then often reads the middle of a text without its
beginning. Packing keeps documents whole: each begins with an end-of-text token, ends with one as its last target, has
positions of its own from 0 on, and attends to nothing outside itself (the "segment mask": position 0 begins a segment).
Rows are filled by best fit (longest first), so that little is padding (`train_fill` in reports/sample/metrics.json).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from gpt.loss import IGNORED

LOOKAHEAD = 1024


def pieces_of(index: np.ndarray, context_length: int) -> np.ndarray:
    """Documents as ranges of targets, int64 (n, 2) of first and length, from an index of (start, length).

    A document's targets are its tokens and the end-of-text token behind them. One with more than `context_length` of
    them is cut; each piece then begins a segment of its own.
    """
    pieces = [
        (start + offset, min(context_length, length + 1 - offset))
        for start, length in index.tolist()
        for offset in range(0, length + 1, context_length)
    ]
    return np.array(pieces, dtype=np.int64).reshape(-1, 2)


def pack(lengths: Iterable[int], capacity: int, lookahead: int = LOOKAHEAD) -> list[list[int]]:
    """Which pieces share a row of `capacity` places: the longest that waits, then always the longest that still fits.

    `lookahead` pieces wait at a time, however long the corpus. ValueError for a piece that fits no row.
    """
    coming = iter(enumerate(lengths))
    waiting: list[tuple[int, int]] = []
    rows: list[list[int]] = []
    while True:
        for number, length in islice(coming, lookahead - len(waiting)):
            if not 1 <= length <= capacity:
                raise ValueError(f"a piece of {length} tokens: rows have room for 1 to {capacity}")
            insort(waiting, (length, -number))
        if not waiting:
            return rows
        row, room = [], capacity
        while (place := bisect_right(waiting, (room, 1)) - 1) >= 0:
            length, number = waiting.pop(place)
            row.append(-number)
            room -= length
        rows.append(row)


class PackedDocuments:
    """Rows of `context_length` places; `pieces` int64 (n, 3) holds row, first target and length, row after row.

    tokens (n,): the flat file of a part, documents joined by `end_of_text`. ValueError when a piece leaves the file.
    """

    def __init__(self, tokens: np.ndarray, pieces: np.ndarray, context_length: int, end_of_text: int) -> None:
        if len(pieces) and (pieces[:, 1].min() < 0 or (pieces[:, 1] + pieces[:, 2]).max() > len(tokens) + 1):
            raise ValueError(f"a piece of a document reaches past the {len(tokens)} tokens there are")
        self.tokens, self.pieces = tokens, pieces
        self.context_length, self.end_of_text = context_length, end_of_text
        self.n_rows = int(pieces[-1, 0]) + 1 if len(pieces) else 0
        self.bounds = np.searchsorted(pieces[:, 0], np.arange(self.n_rows + 1))

    def __len__(self) -> int:
        return self.n_rows

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, targets and positions of these rows, each (B, T) int64; what fills a row up has no target."""
        shape = len(indices), self.context_length
        inputs, targets = np.full(shape, self.end_of_text), np.full(shape, IGNORED)
        positions = np.zeros(shape, np.int64)
        for row, number in enumerate(indices):
            place = 0
            for _, first, length in self.pieces[self.bounds[number] : self.bounds[number + 1]]:
                there = slice(place, place + length)
                around = self._around(first, length)
                inputs[row, there], targets[row, there], positions[row, there] = around[:-1], around[1:], range(length)
                place += length
        return torch.from_numpy(inputs), torch.from_numpy(targets), torch.from_numpy(positions)

    def _around(self, first: int, length: int) -> np.ndarray:
        """The targets [first, first + length) and the token before them; outside the file stands an end of text."""
        found = np.full(length + 1, self.end_of_text)
        begin, end = max(first - 1, 0), min(first + length, len(self.tokens))
        found[begin - first + 1 : end - first + 1] = self.tokens[begin:end]
        return found
