"""What the evaluation found, as the report and its plots take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

CLASSIFIERS = {
    "bag_of_words": "bag of words + logistic regression",
    "random": "the same, from random weights",
    "pretrained": "last layers tuned, from the base",
    "lora": "LoRA on the frozen base",
    "full": "all weights tuned, from the base",
}
ASSISTANTS = {
    "pretrained": "fine-tuned from the pre-trained base",
    "random": "the same fine-tuning from random weights",
}
LANGUAGE = {"pretrained": "pre-trained", "random": "untrained"}


@dataclass(frozen=True)
class Findings:
    """All that the report and its plots are made from."""

    metrics: Mapping[str, Any]
    costs: Mapping[str, Mapping[str, Any]]
    """Classifier → what its training stage measured."""
    kinds: pd.DataFrame
    """part, kind, variant, items, exact_match, token_overlap."""
    messages: pd.DataFrame
    answers: pd.DataFrame
    samples: Sequence[Mapping[str, Any]]
    """What the model wrote at each step of pre-training."""

    @property
    def assistant(self) -> str:
        """The variant that the report is about."""
        return next(name for name in ASSISTANTS if name in self.metrics["instruct"])

    @property
    def baseline(self) -> str | None:
        """The one beside it, if there is one."""
        return "random" if self.assistant != "random" and "random" in self.metrics["instruct"] else None

    @property
    def asked(self) -> list[str]:
        """The parts whose answers are reported."""
        return [part for part in ("test", "combinations") if part in self.metrics["instruct"][self.assistant]]

    def classifier(self, name: str) -> str:
        """What to call it; what `classify` tunes may be all there is."""
        whole = name == "pretrained" and self.costs.get(name, {}).get("trainable_share") == 1
        return CLASSIFIERS["full" if whole else name]

    def accuracies(self) -> pd.DataFrame:
        """variant, accuracy, low, high on the test part, and the share of parameters that was trained."""
        rows = [
            {
                "variant": name,
                "accuracy": parts["test"]["accuracy"],
                "low": parts["test"]["accuracy_low"],
                "high": parts["test"]["accuracy_high"],
                "share": self.costs.get(name, {}).get("trainable_share"),
            }
            for name, parts in self.metrics["classify"].items()
        ]
        return pd.DataFrame(rows).astype({"share": float})
