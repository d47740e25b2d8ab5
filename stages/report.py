"""The report a person reads: Markdown tables and sentences from the numbers of `evaluate`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

NAMES = {
    "bag_of_words": "bag of words + logistic regression",
    "pretrained": "fine-tuned from the pre-trained base",
    "random": "the same, from random weights",
    "full": "all weights tuned, from the base",
    "lora": "LoRA on the frozen base",
}


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; pipes and newlines in cells are made harmless."""
    lines = [columns, ["---"] * len(columns), *rows]
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ⏎ ") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n"


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def interval(scores: Mapping[str, float], name: str) -> str:
    return f"{percent(scores[name])} ({percent(scores[f'{name}_low'])} – {percent(scores[f'{name}_high'])})"


def language_section(metrics: Mapping[str, Any]) -> str:
    rows = [
        [name, part, f"{scores['loss']:.3f}", f"{scores['perplexity']:.1f}", scores["tokens"]]
        for name, parts in metrics["language"].items()
        for part, scores in parts.items()
    ]
    return (
        "## The language model\n\n"
        + table(["model", "part", "loss (nats per token)", "perplexity", "tokens scored"], rows)
        + f"\nAn even guess among {metrics['vocab_size']:,} tokens loses {metrics['uniform_loss']:.3f} nats.\n\n"
        "![loss over the steps](plots/pretraining.png)\n"
    )


def classifier_section(metrics: Mapping[str, Any], training: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, parts in metrics["classify"].items():
        cost = training.get(name, {})
        share = f"{cost['trainable_parameters']:,} ({percent(cost['trainable_share'])})" if cost else "–"
        validation, test = parts["validation"], parts["test"]
        rows.append(
            [NAMES[name], share, percent(validation["accuracy"]), interval(test, "accuracy"), f"{test['macro_f1']:.3f}"]
        )
    head = ["classifier", "trained parameters", "validation accuracy", "test accuracy (95 % interval)", "test macro F1"]
    return (
        "## Classifying messages\n\n"
        + table(head, rows)
        + "\n![test accuracy](plots/accuracy.png)\n\n![confusion matrices](plots/confusion.png)\n"
    )


def instruction_section(metrics: Mapping[str, Any], kinds: pd.DataFrame) -> str:
    rows = []
    for name, parts in metrics["instruct"].items():
        scores = [interval(parts["test"], score) for score in ("exact_match", "token_overlap")]
        rows.append([NAMES[name], percent(parts["trainable_share"]), f"{parts['validation_loss']:.3f}", *scores])
    head = ["assistant", "trained share", "validation loss", "test exact match (95 % interval)", "test token overlap"]
    return (
        "## Following instructions\n\n"
        + table(head, rows)
        + "\n![token overlap per task type](plots/answers.png)\n\n### Per task type, test part\n\n"
        + kinds_table(kinds)
    )


def kinds_table(kinds: pd.DataFrame) -> str:
    """A row a task type, a column a score and variant."""
    scores = ("exact_match", "token_overlap")
    wide = kinds.pivot(index=["kind", "items"], columns="variant", values=list(scores)).sort_index()
    head = [f"{score.replace('_', ' ')}, {variant}" for score, variant in wide.columns]
    rows = [[kind, items, *map(percent, values)] for (kind, items), values in zip(wide.index, wide.values, strict=True)]
    return table(["task type", "items", *head], rows)


def leakage_section(leakage: Mapping[str, Any]) -> str:
    rows = [
        [data, part, scores["items"], scores["copies_of_training"]]
        for data, parts in leakage.items()
        for part, scores in parts.items()
    ]
    return "## Held out\n\n" + table(["data", "part", "items", "exact copies of training items"], rows)


def examples_section(answers: pd.DataFrame, messages: pd.DataFrame, items: int) -> str:
    """The first answers of the test part as they are (no picking), and the messages that most classifiers get wrong."""
    shown = answers[answers["part"] == "test"].head(items)
    prompts = [[f"{row.instruction} {row.input}".strip(), row.reference, row.answer] for row in shown.itertuples()]
    wrong = messages[(messages["part"] == "test") & ~messages["correct"]]
    hardest = wrong.groupby(["index", "text", "expected"])["variant"].agg(["count", ", ".join]).reset_index()
    hardest = hardest.sort_values(["count", "index"], ascending=[False, True]).head(items)
    return (
        f"## The first {len(shown)} answers of the test part\n\n"
        + table(["instruction", "reference", "answer"], prompts)
        + "\n## Messages that most classifiers get wrong\n\n"
        + table(["message", "is", "wrong by"], hardest[["text", "expected", "join"]].values.tolist())
    )


def write_report(
    metrics: Mapping[str, Any],
    training: Mapping[str, Mapping[str, Any]],
    kinds: pd.DataFrame,
    answers: pd.DataFrame,
    messages: pd.DataFrame,
    items: int,
) -> str:
    sections = [
        "# What came out\n\nTest data are reported here, never chosen on: every choice was made on validation data.\n",
        language_section(metrics),
        classifier_section(metrics, training),
        "## Fine-tuning\n\n![validation loss of every fine-tuning](plots/finetuning.png)\n",
        instruction_section(metrics, kinds),
        leakage_section(metrics["leakage"]),
    ]
    if items:
        sections.append(examples_section(answers, messages, items))
    return "\n".join(sections)
