"""Every held-out item with what each model said of it: the tables that all scores are computed from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from corpus.bag_of_words import bag_of_words
from corpus.scores import exact_match, token_overlap
from stages.lines import read_lines
from stages.windows import HELD_OUT

MESSAGES, INSTRUCTIONS, REPORTS = Path("data/samples/messages"), Path("data/samples/instructions"), Path("reports")


def read_entries() -> dict[str, list[dict[str, Any]]]:
    """The instructions of every part that there is: combinations only where they bring their own split."""
    names = ("train", *HELD_OUT, "combinations")
    return {part: read_lines(file) for part in names if (file := INSTRUCTIONS / f"{part}.jsonl").is_file()}


def classified_messages() -> tuple[pd.DataFrame, list[str]]:
    """Every held-out message under every classifier, the bag of words included."""
    labels = json.loads((MESSAGES / "labels.json").read_text(encoding="utf-8"))
    parts = {part: pd.DataFrame(read_lines(MESSAGES / f"{part}.jsonl")) for part in ("train", *HELD_OUT)}
    items = [item for stage in ("classify", "lora") for item in read_lines(REPORTS / stage / "predictions.jsonl")]
    baseline = bag_of_words(
        parts["train"]["text"], parts["train"]["label"], *(parts[part]["text"] for part in HELD_OUT)
    )
    for number, part in enumerate(HELD_OUT):
        said = zip(baseline.predicted(number), baseline.probabilities[number], parts[part].itertuples(), strict=True)
        for index, (predicted, row, message) in enumerate(said):
            items.append(
                {"variant": "bag_of_words", "part": part, "index": index, "text": message.text}
                | {"expected": message.label, "predicted": predicted}
                | {"probabilities": {label: float(value) for label, value in zip(baseline.labels, row, strict=True)}}
            )
    frame = pd.DataFrame(items)
    frame["correct"] = frame["expected"] == frame["predicted"]
    return frame, labels


def curves_of(stage: str) -> dict[str, pd.DataFrame]:
    """Variant → its evaluations."""
    return {file.stem: pd.read_csv(file) for file in sorted((REPORTS / stage / "curves").glob("*.csv"))}


def scored_answers() -> pd.DataFrame:
    """Every stored answer with its exact match (0 or 1) and token overlap (0 to 1)."""
    frame = pd.DataFrame(read_lines(REPORTS / "instruct" / "answers.jsonl"))
    pairs = list(zip(frame["answer"], frame["reference"], strict=True))
    return frame.assign(
        exact_match=[float(exact_match(*pair)) for pair in pairs],
        token_overlap=[token_overlap(*pair) for pair in pairs],
    )
