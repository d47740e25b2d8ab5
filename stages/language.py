"""How well the base knows its language: the loss on every part of the text, beside the floor where that is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt.evaluate import Batch, Rows, text_losses
from gpt.tokens import read_index
from pipeline.stage import Stage
from stages.models import log_runtime, runtime_of, starting_model
from stages.windows import HELD_OUT, TOKENS, documents_of, floor_of, parts, rows_of, whole_documents

if TYPE_CHECKING:
    import pandas as pd

TRAINING_ROWS = 512  # of the training part, to show how much better the model knows it; held-out parts count whole


def language_scores(stage: Stage) -> tuple[dict[str, Any], pd.DataFrame]:
    """Loss and perplexity of the base on every part, and of its shape with random weights on those held out (it has
    learned from none); the floor where known.

    And what the held-out parts' losses are the sums of: variant, part, document, tokens, nats, a row a text that was
    scored by itself (a document, a piece of one that is longer than the context, or a window).
    """
    found: dict[str, Any] = {}
    texts: list[dict[str, Any]] = []
    for name in ("pretrained", "random"):
        model = starting_model(name, stage.params.seed)
        runtime = runtime_of(stage, model)
        runtime.prepare(model)
        log_runtime(stage, runtime)
        found[name] = {}
        for part in [part for part in parts() if name == "pretrained" or part in HELD_OUT]:
            rows = rows_of(part, model.config.context_length)
            rows = spread(rows, TRAINING_ROWS) if part == "train" else rows
            nats, tokens = text_losses(model, rows, stage.params.evaluate.batch_size, runtime)
            loss = float(nats.sum() / tokens.sum())
            found[name][part] = {
                "loss": loss,
                "perplexity": math.exp(loss),
                "tokens": int(tokens.sum()),
                **floor_scores(part, loss),
            }
            if part in HELD_OUT:
                columns = {"document": documents_of(part), "tokens": tokens, "nats": nats}
                texts.append({"variant": name, "part": part, **columns})
    import pandas as pd  # a quarter of a second to import: the stage is to be at work first

    order = ["variant", "part", "document"]
    losses = pd.concat(map(pd.DataFrame, texts)) if texts else pd.DataFrame(columns=[*order, "tokens", "nats"])
    return found, losses.sort_values(order, kind="stable", ignore_index=True)


@dataclass(frozen=True)
class Spread:
    """Every so many-th row."""

    rows: Rows
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    def batch(self, indices: Sequence[int] | np.ndarray) -> Batch:
        return self.rows.batch(self.places[np.asarray(indices)])


def spread(rows: Rows, most: int) -> Rows:
    """At most so many rows, evenly spread over all of them, so that every source is among them."""
    return rows if len(rows) <= most else Spread(rows, np.arange(most) * len(rows) // most)


def floor_scores(part: str, loss: float) -> dict[str, float]:
    """The part's entropy floor, its standard error over documents, and, where that is fair, loss / floor.

    Fair is a held-out part of which every document is read whole: a model knows its training documents and may fall
    below their floor, and one that sees only pieces is kept from reaching it.
    """
    floor = floor_of(part)
    if floor is None:
        return {}
    nats = np.load(TOKENS / f"{part}.nats.npy", allow_pickle=False)
    found = {"floor": floor, "documents": len(nats)}
    if len(nats) > 1:
        found["floor_error"] = ratio_error(nats, read_index(TOKENS, part)[:, 1] + 1)
    if part != "train" and whole_documents(part):
        found["over_floor"] = loss / floor
    return found


def ratio_error(values: np.ndarray, sizes: np.ndarray) -> float:
    """The standard error of sum(values) / sum(sizes), both (N,), over which N items were drawn."""
    residuals = values - values.sum() / sizes.sum() * sizes
    return float(math.sqrt(len(values) / (len(values) - 1) * (residuals**2).sum()) / sizes.sum())
