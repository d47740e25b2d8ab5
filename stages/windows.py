"""The text's rows as the sample stage left them: sliding windows, or packed documents."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from gpt.evaluate import Rows
from gpt.order import MixedOrder
from gpt.packing import PackedDocuments
from gpt.tokens import entropy_floor, open_tokens, read_about, read_index
from gpt.windows import Windows

TOKENS, SAMPLES = Path("data/tokens"), Path("data/samples/text")
MIXTURE = "mixture.json"
HELD_OUT = ("validation", "test")


def rows_of(part: str, context_length: int) -> Rows:
    """What a model reads of a part; the stored places tell which kind of rows they are."""
    places = np.load(SAMPLES / f"{part}.npy", allow_pickle=False)
    tokens = open_tokens(TOKENS, part)
    if places.ndim == 1:
        return Windows(tokens, places, context_length)
    return PackedDocuments(tokens, places, context_length, read_about(TOKENS)["end_of_text"])


def parts() -> list[str]:
    """The parts that have rows."""
    return [part for part in ("train", *HELD_OUT) if (SAMPLES / f"{part}.npy").is_file()]


def packed() -> bool:
    """Whether rows hold documents, each read from its beginning, and not windows."""
    places: np.ndarray = np.load(SAMPLES / "train.npy", mmap_mode="r", allow_pickle=False)
    return places.ndim == 2


def whole_documents(part: str) -> bool:
    """Whether each document of a part is read from its beginning to its end in one row."""
    places: np.ndarray = np.load(SAMPLES / f"{part}.npy", mmap_mode="r", allow_pickle=False)
    return places.ndim == 2 and len(places) == len(read_index(TOKENS, part))


def documents_of(part: str) -> np.ndarray:
    """Which document of the part each packed piece is of, int64 (N,), in the rows' order; of windows, their numbers."""
    places: np.ndarray = np.load(SAMPLES / f"{part}.npy", allow_pickle=False)
    if places.ndim == 1:
        return np.arange(len(places))
    starts = np.asarray(read_index(TOKENS, part)[:, 0])
    return np.searchsorted(starts, places[:, 1], side="right") - 1


def mixed_order(seed: int) -> MixedOrder:
    """The order of the training rows that the sample stage decided on."""
    mixture = json.loads((SAMPLES / MIXTURE).read_text(encoding="utf-8"))
    return MixedOrder(seed, tuple(mixture["sizes"]), tuple(mixture["weights"]), mixture["alpha"])


def floor_of(part: str) -> float | None:
    """The entropy floor of a part, in nats per token; None: nobody knows what its text was made from.

    The mean surprisal of its documents under the grammar that wrote them (`corpus/world/stories.py`): what no model
    that reads every document from its beginning can be expected to beat.
    """
    return entropy_floor(TOKENS, part)
