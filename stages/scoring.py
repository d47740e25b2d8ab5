"""Scores from items: each mean with a bootstrap interval, and what the parts of the data have in common."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from corpus.instructions import leaks
from corpus.intervals import mean_interval
from corpus.messages import overlap
from corpus.scores import answer_scores, classification_scores
from gpt.evaluate import window_loss
from gpt.seeds import derive
from pipeline.stage import Stage
from stages.items import HELD_OUT, INSTRUCTIONS, MESSAGES
from stages.lines import read_lines
from stages.models import runtime_of, starting_model
from stages.windows import parts, windows_of


def language_scores(stage: Stage) -> dict[str, Any]:
    """Loss and perplexity of the base, and of its shape with random weights, over every part's windows."""
    found: dict[str, Any] = {}
    for name in ("pretrained", "random"):
        model = starting_model(name, stage.params.seed)
        runtime = runtime_of(stage, model)
        runtime.prepare(model)
        found[name] = {}
        for part in parts():
            windows = windows_of(part, model.config.context_length)
            loss, tokens = window_loss(model, windows, stage.params.evaluate.batch_size, runtime)
            found[name][part] = {"loss": loss, "perplexity": math.exp(loss), "tokens": tokens}
    return found


def with_interval(values: pd.Series, name: str, stage: Stage) -> dict[str, float]:
    """The mean and the 95 % interval of a bootstrap over items."""
    resamples, seed = stage.params.evaluate.bootstrap_resamples, derive(stage.params.seed, "bootstrap")
    low, high = mean_interval(values.to_numpy(dtype=float), resamples, seed)
    return {name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}


def classifier_metrics(stage: Stage, frame: pd.DataFrame, labels: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for (variant, part), rows in frame.groupby(["variant", "part"], sort=False):
        scores = classification_scores(list(rows["expected"]), list(rows["predicted"]), labels)
        found.setdefault(variant, {})[part] = scores | with_interval(rows["correct"], "accuracy", stage)
    return found


def answer_metrics(stage: Stage, frame: pd.DataFrame, training: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for (variant, part), rows in frame.groupby(["variant", "part"], sort=False):
        scores: dict[str, Any] = dict(with_interval(rows["exact_match"], "exact_match", stage))
        scores |= with_interval(rows["token_overlap"], "token_overlap", stage)
        scores["kinds"] = answer_scores(list(rows["answer"]), list(rows["reference"]), list(rows["kind"]))
        known = {name: training[variant][name] for name in ("validation_loss", "trainable_share")}
        found.setdefault(str(variant), known)[str(part)] = scores
    return found


def leakage() -> dict[str, Any]:
    """How many held-out items are exact copies of training items, in the split that every stage shares."""
    messages = {part: [row["text"] for row in read_lines(MESSAGES / f"{part}.jsonl")] for part in ("train", *HELD_OUT)}
    entries = {part: read_lines(INSTRUCTIONS / f"{part}.jsonl") for part in ("train", *HELD_OUT)}
    found: dict[str, Any] = {"messages": {}, "instructions": {}}
    for part in HELD_OUT:
        copies = overlap(messages["train"], messages[part]), leaks(entries["train"], entries[part])
        found["messages"][part] = {"items": len(messages[part]), "copies_of_training": copies[0]}
        found["instructions"][part] = {"items": len(entries[part]), "copies_of_training": copies[1]}
    return found
