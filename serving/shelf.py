"""The trained models where a run leaves them, each opened when it is first asked for (and PyTorch with it)."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.assistant import Assistant
    from serving.classifier import TextClassifier
    from serving.complete import Writer

# What each part needs. Of several folders in a row the first that is there: a run may train some variants only.
PARTS: dict[str, list[list[str]]] = {
    "assistant": [["models/assistant/pretrained", "models/assistant/random"]],
    "writer": [["models/base"]],
    "classifier": [["models/classifier/pretrained", "models/classifier/full", "models/classifier/random"]],
    "lora": [["models/lora"], ["models/base"]],
}


class MissingModel(ValueError):
    """Nothing to talk to: what is missing, and how to make it."""


class Shelf:
    """`root` holds `models/` and `data/tokenizer/`."""

    def __init__(self, root: Path = Path()):
        self.root = root

    @cached_property
    def assistant(self) -> Assistant:
        from serving.assistant import Assistant

        return Assistant.load(*self.folders("assistant"))

    @cached_property
    def writer(self) -> Writer:
        from serving.complete import Writer

        return Writer.load(*self.folders("writer"))

    @cached_property
    def classifier(self) -> TextClassifier:
        from serving.classifier import TextClassifier

        return TextClassifier.load(*self.folders("classifier"))

    @cached_property
    def lora(self) -> TextClassifier:
        from serving.classifier import TextClassifier

        model, base, tokenizer = self.folders("lora")
        return TextClassifier.load(model, tokenizer, base)

    def folders(self, part: str) -> list[Path]:
        """The part's folders, then the tokenizer's; MissingModel when one isn't there."""
        found = []
        for choices in (*PARTS[part], ["data/tokenizer"]):
            there = [self.root / choice for choice in choices if (self.root / choice).is_dir()]
            if not there:
                raise MissingModel(f"{choices[0]} is missing: `make run` makes it")
            found.append(there[0])
        return found

    def missing(self, part: str) -> str:
        """Why a part can't be used, in one sentence; nothing when it can."""
        try:
            self.folders(part)
        except MissingModel as error:
            return str(error)
        return ""
