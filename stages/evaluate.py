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

from gpt.tokenizer_files import load_encoding
from pipeline.stage import Stage, run
from stages import plots
from stages.items import REPORTS, classified_messages, scored_answers
from stages.lines import write_lines
from stages.report import write_report
from stages.scoring import answer_metrics, classifier_metrics, language_scores, leakage


def curves_of(stage: str) -> dict[str, pd.DataFrame]:
    """Variant → its evaluations."""
    return {file.stem: pd.read_csv(file) for file in sorted((REPORTS / stage / "curves").glob("*.csv"))}


def draw(stage: Stage, metrics: dict[str, Any], messages: pd.DataFrame, labels: list[str], kinds: pd.DataFrame) -> None:
    folder = stage.out("reports/evaluate/plots")
    folder.mkdir()
    plots.pretraining_curve(curves_of("pretrain")["base"], folder / "pretraining.png")
    plots.finetuning_curves(
        {name: curves_of(name) for name in ("lora", "classify", "instruct")}, folder / "finetuning.png"
    )
    test = messages[messages["part"] == "test"]
    tables = {name: np.array(parts["test"]["confusion"]) for name, parts in metrics["classify"].items()}
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
