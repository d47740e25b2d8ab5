"""Scores from items: each mean with a bootstrap interval, and what the parts of the data have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from corpus.instructions import leaks
from corpus.intervals import mean_interval
from corpus.messages import overlap
from corpus.scores import answer_scores, classification_scores
from gpt.evaluate import Batch, Rows, text_losses
from gpt.seeds import derive
from gpt.tokens import read_index
from pipeline.stage import Stage
from stages.items import HELD_OUT, MESSAGES, read_entries
from stages.lines import read_lines
from stages.models import log_runtime, runtime_of, starting_model
from stages.windows import TOKENS, documents_of, floor_of, parts, rows_of, whole_documents

TRAINING_ROWS = 512  # of the training part, to show how much better the model knows it; held-out parts count whole
CLASSIFIERS = ("bag_of_words", "random", "pretrained", "lora", "full")  # in the order of reports and plots


def language_scores(stage: Stage) -> tuple[dict[str, Any], pd.DataFrame]:
    """Loss and perplexity of the base on every part, and of its shape with random weights on those held out (it has
    learned from none); the floor where known.

    And what the held-out parts' losses are the sums of: variant, part, document, tokens, nats, a row a text that was
    scored by itself (a document, a piece of one that is longer than the context, or a window).
    """
    found: dict[str, Any] = {}
    texts: list[pd.DataFrame] = []
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
                texts.append(pd.DataFrame({"variant": name, "part": part, **columns}))
    order = ["variant", "part", "document"]
    losses = pd.concat(texts) if texts else pd.DataFrame(columns=[*order, "tokens", "nats"])
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


@dataclass(frozen=True)
class Bootstrap:
    """The 95 % interval of a mean, by drawing its items again and again."""

    resamples: int
    seed: int

    def mean(self, values: pd.Series, name: str) -> dict[str, float]:
        low, high = mean_interval(values.to_numpy(dtype=float), self.resamples, self.seed)
        return {name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}


def bootstrap_of(stage: Stage) -> Bootstrap:
    return Bootstrap(stage.params.evaluate.bootstrap_resamples, derive(stage.params.seed, "bootstrap"))


def classifier_metrics(frame: pd.DataFrame, labels: list[str], bootstrap: Bootstrap) -> dict[str, Any]:
    """Variant → part → loss in nats a message, accuracy and its interval, F1, confusion."""
    found: dict[str, Any] = {variant: {} for variant in CLASSIFIERS if variant in set(frame["variant"])}
    for (variant, part), rows in frame.groupby(["variant", "part"], sort=False):
        scores = classification_scores(list(rows["expected"]), list(rows["predicted"]), labels)
        likelihood = [given[label] for given, label in zip(rows["probabilities"], rows["expected"], strict=True)]
        loss = float(-np.log(np.maximum(likelihood, 1e-30)).mean())
        found[variant][part] = scores | bootstrap.mean(rows["correct"], "accuracy") | {"loss": loss}
    return found


def lora_beside_full(frame: pd.DataFrame, bootstrap: Bootstrap) -> dict[str, float]:
    """LoRA's test accuracy minus full tuning's, message by message: surer than two separate intervals."""
    test = frame[frame["part"] == "test"].pivot(index="index", columns="variant", values="correct")
    if not {"lora", "full"} <= set(test.columns):
        return {}
    return bootstrap.mean(test["lora"].astype(float) - test["full"].astype(float), "accuracy_difference")


def answer_metrics(frame: pd.DataFrame, training: Mapping[str, Any], bootstrap: Bootstrap) -> dict[str, Any]:
    """Variant → part (combinations, too, where there are any) → exact match and token overlap, and of each kind."""
    found: dict[str, Any] = {}
    for (variant, part), rows in frame.groupby(["variant", "part"], sort=False):
        scores: dict[str, Any] = bootstrap.mean(rows["exact_match"], "exact_match")
        scores |= bootstrap.mean(rows["token_overlap"], "token_overlap")
        scores["kinds"] = answer_scores(list(rows["answer"]), list(rows["reference"]), list(rows["kind"]))
        known = {name: training[variant][name] for name in ("validation_loss", "trainable_share")}
        found.setdefault(str(variant), known)[str(part)] = scores
    return found


def kind_table(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """From `answer_metrics`, a row a part, kind ("all" among them) and variant: items, exact_match, token_overlap."""
    rows = [
        {"part": part, "kind": kind, "variant": variant, "items": scores["count"]}
        | {name: scores[name] for name in ("exact_match", "token_overlap")}
        for part in ("test", "combinations")
        for variant, known in metrics.items()
        for kind, scores in known.get(part, {"kinds": {}})["kinds"].items()
    ]
    return pd.DataFrame(rows)


def leakage() -> dict[str, Any]:
    """How many held-out items are exact copies of training items, in the split that every stage shares."""
    messages = {part: [row["text"] for row in read_lines(MESSAGES / f"{part}.jsonl")] for part in ("train", *HELD_OUT)}
    entries = read_entries()
    found: dict[str, Any] = {"messages": {}, "instructions": {}}
    for part in HELD_OUT:
        copies = overlap(messages["train"], messages[part])
        found["messages"][part] = {"items": len(messages[part]), "copies_of_training": copies}
    for part in [part for part in entries if part != "train"]:
        copies = leaks(entries["train"], entries[part])
        found["instructions"][part] = {"items": len(entries[part]), "copies_of_training": copies}
    return found
