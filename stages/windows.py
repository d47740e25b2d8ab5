"""The text's windows as the sample stage left them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gpt.tokens import open_tokens
from gpt.windows import Windows

TOKENS, SAMPLES = Path("data/tokens"), Path("data/samples/text")


def windows_of(part: str, context_length: int) -> Windows:
    starts = np.load(SAMPLES / f"{part}.npy", allow_pickle=False)
    return Windows(open_tokens(TOKENS, part), starts, context_length)
