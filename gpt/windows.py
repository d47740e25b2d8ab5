"""Chapter 2: windows that slide over the tokens, with targets one token ahead.

A window is only a number, where it starts; inputs and targets are views on the memory-mapped file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor


def window_starts(n_tokens: int, context_length: int, stride: int) -> range:
    """Where windows start: each has a target after its last token. 5,145 tokens, 256 by 128: 39 windows."""
    if context_length < 1 or stride < 1:
        raise ValueError(f"windows of {context_length} every {stride} tokens: both must be at least 1")
    return range(0, n_tokens - context_length, stride)


def starts_within(
    ranges: Iterable[tuple[int, int]], context_length: int, stride: int
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Windows that don't leave their source: starts, int64 (n,), source after source, and how many each source has."""
    starts = [first + np.array(window_starts(last - first, context_length, stride), np.int64) for first, last in ranges]
    return np.concatenate([np.empty(0, np.int64), *starts]), tuple(len(part) for part in starts)


class Windows:
    """The windows of `context_length` tokens that begin at `starts`.

    tokens (n,): any integer array, usually memory-mapped. ValueError when a window would reach past the end.
    """

    def __init__(self, tokens: np.ndarray, starts: Sequence[int] | np.ndarray, context_length: int) -> None:
        last = int(np.max(starts)) if len(starts) else -1
        if len(starts) and (int(np.min(starts)) < 0 or last + context_length >= len(tokens)):
            raise ValueError(
                f"a window of {context_length} tokens at {last} and its last target need "
                f"{last + context_length + 1} tokens: there are {len(tokens)}"
            )
        self.tokens = tokens
        self.starts = starts
        self.context_length = context_length

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets (T,) of window i: views, nothing is copied."""
        start = self.starts[i]
        window = self.tokens[start : start + self.context_length + 1]
        return window[:-1], window[1:]

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor]:
        """Inputs (B, T) and targets (B, T), int64, of these windows."""
        starts = np.array([self.starts[i] for i in indices], np.int64)
        rows = self.tokens[starts[:, None] + np.arange(self.context_length + 1)]
        both = torch.from_numpy(rows.astype(np.int64))
        return both[:, :-1].contiguous(), both[:, 1:].contiguous()
