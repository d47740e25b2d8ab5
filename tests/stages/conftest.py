"""What the tests of the stages share: a stage as its `main` sees it, in an empty folder, and findings to report on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from corpus.scores import exact_match, token_overlap
from pipeline.graph import load_graph
from pipeline.params import load_params
from pipeline.schema import Params
from pipeline.signals import Stopper
from pipeline.stage import Stage
from stages import scoring
from stages.findings import Findings

ROOT = Path(__file__).resolve().parents[2]
LABELS = ["ham", "spam"]
BOOTSTRAP = scoring.Bootstrap(100, 1)


@pytest.fixture
def stage_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Mapping[str, Any]], Stage]:
    """Make a stage with some leaves of its parameters changed, as {"sample.instructions.split": "given"}."""
    params = load_params(ROOT / "params.yaml").model_dump()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCRIPTORIUM_HOME", raising=False)

    def make(name: str, changes: Mapping[str, Any]) -> Stage:
        for path, value in changes.items():
            *sections, leaf = path.split(".")
            place = params
            for section in sections:
                place = place[section]
            assert leaf in place
            place[leaf] = value
        return Stage(name, Params.model_validate(params), load_graph(ROOT)[name], {}, Stopper())

    return make


def classified(right: Mapping[str, int]) -> pd.DataFrame:
    """Ten validation and ten test messages under each classifier, which has so many of each right."""
    rows = [
        {"variant": variant, "part": part, "index": i, "text": f"text {i} | of <{part}>", "expected": LABELS[i % 2]}
        | {"predicted": LABELS[i % 2 if i < count else 1 - i % 2]}
        | {"probabilities": {LABELS[i % 2]: 0.8 if i < count else 0.4, LABELS[1 - i % 2]: 0.2 if i < count else 0.6}}
        for variant, count in right.items()
        for part in ("validation", "test")
        for i in range(10)
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(correct=frame["expected"] == frame["predicted"])


def answered(right: Mapping[str, int], parts: tuple[str, ...] = ("validation", "test", "combinations")) -> pd.DataFrame:
    """Six answers a part and variant, so many of them right, of two kinds in turns."""
    rows = [
        {"variant": variant, "part": part, "index": i, "kind": ("plural", "opposite")[i % 2]}
        | {"instruction": f"Do {i}.", "input": "It.", "reference": f"Done {i}."}
        | {"answer": f"Done {i}." if i < count else "Not at all."}
        for variant, count in right.items()
        for part in parts
        for i in range(6)
    ]
    frame = pd.DataFrame(rows)
    pairs = list(zip(frame["answer"], frame["reference"], strict=True))
    return frame.assign(
        exact_match=[float(exact_match(*pair)) for pair in pairs],
        token_overlap=[token_overlap(*pair) for pair in pairs],
    )


def findings(
    *,
    floor: bool = True,
    classifiers: Mapping[str, int] | None = None,
    assistants: Mapping[str, int] | None = None,
    parts: tuple[str, ...] = ("validation", "test", "combinations"),
) -> Findings:
    """What an evaluation could have found."""
    messages = classified(classifiers or {"pretrained": 9, "random": 6, "full": 10, "lora": 9, "bag_of_words": 7})
    answers = answered(assistants or {"pretrained": 5, "random": 1}, parts)
    variants = list(dict.fromkeys(answers["variant"]))
    known = {"floor": 0.8, "floor_error": 0.004, "documents": 321} if floor else {}
    language: dict[str, Any] = {
        name: {
            part: {"loss": loss, "perplexity": 2.7, "tokens": 1_000, **known}
            | ({"over_floor": loss / 0.8} if floor and part != "train" else {})
            for part in ("train", "validation", "test")
        }
        for name, loss in (("pretrained", 0.9), ("random", 8.0))
    }
    training = {name: {"validation_loss": 0.5, "trainable_share": 1.0} for name in variants}
    shares = {"pretrained": 0.2, "random": 0.2, "lora": 0.02, "full": 1.0}
    tuned = [name for name in dict.fromkeys(messages["variant"]) if name in shares]
    costs = {
        name: {"trainable_parameters": int(1_000 * shares[name]), "trainable_share": shares[name]} for name in tuned
    }
    metrics = {
        "language": language,
        "vocab_size": 2_000,
        "uniform_loss": 7.6,
        "classify": scoring.classifier_metrics(messages, LABELS, BOOTSTRAP),
        "lora_beside_full": scoring.lora_beside_full(messages, BOOTSTRAP),
        "instruct": scoring.answer_metrics(answers, training, BOOTSTRAP),
        "leakage": {"instructions": {part: {"items": 6, "copies_of_training": 0} for part in parts}},
    }
    samples = [{"step": step, "text": f"Once <b>upon</b>\n{step}"} for step in (0, 10, 20, 30)]
    return Findings(metrics, costs, scoring.kind_table(metrics["instruct"]), messages, answers, samples)
