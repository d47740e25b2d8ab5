"""The evaluation of everything: perplexity, classifiers beside their baselines, answers against references; one report.

Scores come from the items that the training stages stored, each with a bootstrap interval; nothing is chosen here.

    python -m stages.evaluate
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt.tokenizer_files import load_encoding
from pipeline.stage import Stage, run
from stages.language import language_scores
from stages.lines import read_lines, write_lines

if TYPE_CHECKING:
    from stages.findings import Findings

# What works on tables is imported where it is called: pandas and Matplotlib take long, and the stage is to be at work.
OUT = Path("reports/evaluate")


def draw(folder: Path, found: Findings, labels: list[str]) -> None:
    """Every plot of the report."""
    from stages import plots
    from stages.items import curves_of

    floor = found.metrics["language"]["pretrained"]["validation"].get("floor")
    plots.pretraining_curve(curves_of("pretrain")["base"], floor, folder / "pretraining.png")
    curves = {
        "Classifying messages": curves_of("classify") | curves_of("lora"),
        "Following instructions": curves_of("instruct"),
    }
    plots.finetuning_curves(curves, folder / "finetuning.png")
    tables = {name: np.array(parts["test"]["confusion"]) for name, parts in found.metrics["classify"].items()}
    plots.confusion_matrices(tables, labels, folder / "confusion.png")
    plots.accuracy_bars(found.accuracies(), folder / "accuracy.png")
    plots.quality_by_share(found.accuracies(), folder / "lora.png")
    plots.scores_by_kind(found.kinds, found.assistant, found.baseline, folder / "kinds.png")


def write_tables(stage: Stage, found: Findings) -> None:
    """What DVC plots: every test message's class, and a table a variant and part with a row a kind of task."""
    test = found.messages[found.messages["part"] == "test"]
    columns = ["variant", "expected", "predicted"]
    test.to_csv(stage.out(OUT / "confusion.csv"), columns=columns, index=False, lineterminator="\n")
    folder = stage.out(OUT / "kinds")
    folder.mkdir()
    for (variant, part), rows in found.kinds.groupby(["variant", "part"]):
        columns = ["kind", "items", "exact_match", "token_overlap"]
        rows.to_csv(folder / f"{variant}-{part}.csv", columns=columns, index=False, lineterminator="\n")


def main(stage: Stage) -> None:
    language, losses = language_scores(stage)

    from stages import scoring
    from stages.findings import Findings
    from stages.items import REPORTS, classified_messages, scored_answers
    from stages.report import write_report

    training = {
        name: json.loads((REPORTS / name / "metrics.json").read_text()) for name in ("classify", "lora", "instruct")
    }
    messages, labels = classified_messages()
    answers = scored_answers()
    bootstrap = scoring.bootstrap_of(stage)
    vocab_size = load_encoding(Path("data/tokenizer")).n_vocab
    metrics: dict[str, Any] = {
        "language": language,
        "vocab_size": vocab_size,
        "uniform_loss": math.log(vocab_size),
        "classify": scoring.classifier_metrics(messages, labels, bootstrap),
        "lora_beside_full": scoring.lora_beside_full(messages, bootstrap),
        "instruct": scoring.answer_metrics(answers, training["instruct"], bootstrap),
        "leakage": scoring.leakage(),
    }
    found = Findings(
        metrics=metrics,
        costs=training["classify"] | {"lora": training["lora"]},
        kinds=scoring.kind_table(metrics["instruct"]),
        messages=messages,
        answers=answers,
        samples=read_lines(REPORTS / "pretrain" / "samples.jsonl"),
    )
    stage.out(OUT / "plots").mkdir()
    draw(stage.out(OUT / "plots"), found, labels)
    write_tables(stage, found)
    losses.to_csv(stage.out(OUT / "losses.csv"), index=False, lineterminator="\n")

    columns = ["variant", "part", "index", "expected", "predicted", "correct", "probabilities"]
    write_lines(
        stage.out(OUT / "predictions.jsonl"),
        [{"task": "classify", **row} for row in messages[columns].to_dict("records")]
        + [{"task": "instruct", **row} for row in answers.to_dict("records")],
    )
    report = write_report(found, stage.params.evaluate.report_items)
    stage.out(OUT / "report.md").write_text(report, encoding="utf-8", newline="\n")
    for name in ("report.md", "predictions.jsonl", "losses.csv", "plots", "confusion.csv", "kinds"):
        stage.log_artifact(stage.out(OUT / name))
    stage.write_metrics(metrics)


if __name__ == "__main__":
    sys.exit(run("evaluate", main))
