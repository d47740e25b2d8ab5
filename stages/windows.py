"""The text's windows as the sample stage left them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from gpt.order import MixedOrder
from gpt.tokens import open_tokens
from gpt.windows import Windows

TOKENS, SAMPLES = Path("data/tokens"), Path("data/samples/text")
MIXTURE = "mixture.json"


def windows_of(part: str, context_length: int) -> Windows:
    starts = np.load(SAMPLES / f"{part}.npy", allow_pickle=False)
    return Windows(open_tokens(TOKENS, part), starts, context_length)


def parts() -> list[str]:
    """The parts that have windows."""
    return [part for part in ("train", "validation", "test") if (SAMPLES / f"{part}.npy").is_file()]


def mixed_order(seed: int) -> MixedOrder:
    """The order of the training windows that the sample stage decided on."""
    mixture = json.loads((SAMPLES / MIXTURE).read_text(encoding="utf-8"))
    return MixedOrder(seed, tuple(mixture["sizes"]), tuple(mixture["weights"]), mixture["alpha"])
