"""The evaluation of everything: perplexity, classifiers beside their baselines, answers against references; one report.

Scores come from the items that the training stages stored, each with a bootstrap interval; nothing is chosen here.

    python -m stages.evaluate
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from corpus.bag_of_words import bag_of_words
from corpus.instructions import leaks
from corpus.intervals import mean_interval
from corpus.messages import overlap
from corpus.scores import classification_scores, exact_match, token_overlap
from gpt.evaluate import window_loss
from gpt.seeds import derive
from gpt.tokenizer import load_encoding
from pipeline.stage import Stage, run
from stages import plots
from stages.lines import read_lines, write_lines
from stages.report import write_report
from stages.training import runtime_of, starting_model
from stages.windows import SAMPLES, windows_of

MESSAGES, INSTRUCTIONS, REPORTS = Path("data/samples/messages"), Path("data/samples/instructions"), Path("reports")
HELD_OUT = ("validation", "test")


def language_scores(stage: Stage) -> dict[str, Any]:
    """Loss and perplexity of the base, and of its shape with random weights, over every part's windows."""
    found: dict[str, Any] = {}
    for name in ("pretrained", "random"):
        model = starting_model(name, stage.params.seed)
        runtime_of(stage, model, 0).prepare(model)
        found[name] = {}
        for part in ("train", *HELD_OUT):
            if (SAMPLES / f"{part}.npy").exists() and len(windows := windows_of(part, model.config.context_length)):
                loss, tokens = window_loss(model, windows, stage.params.evaluate.batch_size)
                found[name][part] = {"loss": loss, "perplexity": math.exp(loss), "tokens": tokens}
    return found


def classified_messages() -> tuple[pd.DataFrame, list[str]]:
    """Every held-out message under every classifier, the bag of words included."""
    labels = json.loads((MESSAGES / "labels.json").read_text(encoding="utf-8"))
    parts = {part: pd.DataFrame(read_lines(MESSAGES / f"{part}.jsonl")) for part in ("train", *HELD_OUT)}
    items = [item for stage in ("classify", "lora") for item in read_lines(REPORTS / stage / "predictions.jsonl")]
    baseline = bag_of_words(
        parts["train"]["text"], parts["train"]["label"], *(parts[part]["text"] for part in HELD_OUT)
    )
    for part, table in zip(HELD_OUT, baseline.probabilities, strict=True):
        for index, (row, message) in enumerate(zip(table, parts[part].itertuples(), strict=True)):
            probabilities = {label: float(value) for label, value in zip(baseline.labels, row, strict=True)}
            items.append(
                {"variant": "bag_of_words", "part": part, "index": index, "text": message.text}
                | {"expected": message.label, "predicted": max(probabilities, key=lambda label: probabilities[label])}
                | {"probabilities": probabilities}
            )
    frame = pd.DataFrame(items)
    frame["correct"] = frame["expected"] == frame["predicted"]
    return frame, labels


def scored_answers() -> pd.DataFrame:
    """Every stored answer with its exact match (0 or 1) and token overlap (0 to 1)."""
    frame = pd.DataFrame(read_lines(REPORTS / "instruct" / "answers.jsonl"))
    pairs = list(zip(frame["answer"], frame["reference"], strict=True))
    return frame.assign(
        exact_match=[float(exact_match(*pair)) for pair in pairs],
        token_overlap=[token_overlap(*pair) for pair in pairs],
    )


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
        scores = with_interval(rows["exact_match"], "exact_match", stage)
        scores |= with_interval(rows["token_overlap"], "token_overlap", stage)
        found.setdefault(str(variant), {"validation_loss": training[variant]["validation_loss"]})[str(part)] = scores
    return found


def leakage() -> dict[str, Any]:
    """How many held-out items are exact copies of training items, in the split that every stage shares."""
    messages = {part: [row["text"] for row in read_lines(MESSAGES / f"{part}.jsonl")] for part in ("train", *HELD_OUT)}
    entries = {part: read_lines(INSTRUCTIONS / f"{part}.jsonl") for part in ("train", *HELD_OUT)}
    return {
        name: {
            part: {"items": len(parts[part]), "copies_of_training": count(parts["train"], parts[part])}
            for part in HELD_OUT
        }
        for name, parts, count in (("messages", messages, overlap), ("instructions", entries, leaks))
    }  # type: ignore[misc]


def draw(stage: Stage, metrics: dict[str, Any], messages: pd.DataFrame, labels: list[str], kinds: pd.DataFrame) -> None:
    folder = stage.out("reports/evaluate/plots")
    folder.mkdir()
    curves = {name: pd.read_csv(REPORTS / name / "curve.csv") for name in ("pretrain", "lora", "classify", "instruct")}
    plots.pretraining_curve(curves.pop("pretrain"), folder / "pretraining.png")
    plots.finetuning_curves(curves, folder / "finetuning.png")
    test = messages[messages["part"] == "test"]
    tables = {name: np.array(parts["test"].pop("confusion")) for name, parts in metrics["classify"].items()}
    plots.confusion_matrices(tables, labels, folder / "confusion.png")
    bars = [
        {
            "name": name,
            "accuracy": parts["test"]["accuracy"],
            "low": parts["test"]["accuracy_low"],
            "high": parts["test"]["accuracy_high"],
        }
        for name, parts in metrics["classify"].items()
    ]
    plots.accuracy_bars(pd.DataFrame(bars), folder / "accuracy.png")
    plots.answers_by_kind(kinds, folder / "answers.png")
    columns = ["variant", "expected", "predicted"]
    test.to_csv(stage.out("reports/evaluate/confusion.csv"), columns=columns, index=False, lineterminator="\n")


def main(stage: Stage) -> None:
    training = {
        name: json.loads((REPORTS / name / "metrics.json").read_text()) for name in ("classify", "lora", "instruct")
    }
    messages, labels = classified_messages()
    answers = scored_answers()
    vocab_size = load_encoding(Path("data/tokenizer")).n_vocab
    metrics = {
        "language": language_scores(stage),
        "vocab_size": vocab_size,
        "uniform_loss": math.log(vocab_size),
        "classify": classifier_metrics(stage, messages, labels),
        "instruct": answer_metrics(stage, answers, training["instruct"]),
        "leakage": leakage(),
    }
    test = answers[answers["part"] == "test"]
    kinds = test.groupby(["kind", "variant"], sort=True).agg(
        items=("index", "size"), exact_match=("exact_match", "mean"), token_overlap=("token_overlap", "mean")
    ).reset_index()  # fmt: skip
    draw(stage, metrics, messages, labels, kinds)

    columns = ["variant", "part", "index", "expected", "predicted", "correct", "probabilities"]
    write_lines(
        stage.out("reports/evaluate/predictions.jsonl"),
        [{"task": "classify", **row} for row in messages[columns].to_dict("records")]
        + [{"task": "instruct", **row} for row in answers.to_dict("records")],
    )
    costs = training["classify"] | {"lora": training["lora"]}
    report = write_report(metrics, costs, kinds, answers, messages, stage.params.evaluate.report_items)
    stage.out("reports/evaluate/report.md").write_text(report, encoding="utf-8", newline="\n")
    for name in ("report.md", "predictions.jsonl", "plots", "confusion.csv"):
        stage.log_artifact(stage.out(f"reports/evaluate/{name}"))
    stage.write_metrics(metrics)


if __name__ == "__main__":
    sys.exit(run("evaluate", main))
