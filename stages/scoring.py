"""Scores from items: each mean with a bootstrap interval, and what the parts of the data have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from corpus.instructions import leaks
from corpus.intervals import mean_interval
from corpus.messages import overlap
from corpus.scores import answer_scores, classification_scores
from gpt.seeds import derive
from pipeline.stage import Stage
from stages.items import MESSAGES, read_entries
from stages.lines import read_lines
from stages.windows import HELD_OUT

CLASSIFIERS = ("bag_of_words", "random", "pretrained", "lora", "full")  # in the order of reports and plots


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
