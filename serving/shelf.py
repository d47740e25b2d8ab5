"""The trained models where a run leaves them, each opened when it is first asked for (and PyTorch with it).

While a stage runs, and after it failed, its model is not there: then the version before it is taken from DVC's cache.
"""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import earlier

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


WEIGHTS = ("float32", "bfloat16", "int8")  # as `gpt.compact` has them, for those who don't import PyTorch yet


class MissingModel(ValueError):
    """Nothing to talk to: what is missing, and how to make it."""


class Shelf:
    """`root` holds `models/` and `data/tokenizer/`; what writes holds its weights in the format `weights`."""

    def __init__(self, root: Path = Path(), weights: str = "float32"):
        self.root, self.weights = root, weights
        self._brought: dict[str, list[Path]] = {}

    @cached_property
    def assistant(self) -> Assistant:
        from serving.assistant import Assistant

        model, tokenizer = self.folders("assistant")
        return Assistant.load(model, tokenizer, self.weights)

    @cached_property
    def writer(self) -> Writer:
        from serving.complete import Writer

        model, tokenizer = self.folders("writer")
        return Writer.load(model, tokenizer, self.weights)

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
        """The part's folders, then the tokenizer's; MissingModel when one isn't there, nor an earlier version of it."""
        needs = [*PARTS[part], ["data/tokenizer"]]
        found = [folder for choices in needs if (folder := self._there(choices)) is not None]
        return found if len(found) == len(needs) else self._earlier(part, needs)

    def _there(self, choices: list[str]) -> Path | None:
        return next((self.root / choice for choice in choices if (self.root / choice).is_dir()), None)

    def _earlier(self, part: str, needs: list[list[str]]) -> list[Path]:
        """The part's last version out of DVC's cache, with the base and the tokenizer that it was made from."""
        if part in self._brought:
            return self._brought[part]
        known = earlier.versions(_output_of(needs[0][0]), self.root)
        found = []
        for choices in needs:
            output = _output_of(choices[0])
            brought = earlier.bring(known[output], self.root) if output in known else None
            inside = [brought / Path(choice).relative_to(output) for choice in choices] if brought else []
            there = next((folder for folder in inside if folder.is_dir()), None)
            if there is None:
                gone = next(choices[0] for choices in needs if self._there(choices) is None)
                raise MissingModel(f"{gone} is missing: `make run` makes it")
            found.append(there)
        self._brought[part] = found
        said = "answering with the version before, from DVC's cache (`make run` makes the new one)"
        print(f"{_output_of(needs[0][0])}: {said}", file=sys.stderr)
        return found

    def missing(self, part: str) -> str:
        """Why a part can't be used, in one sentence; nothing when it can."""
        try:
            self.folders(part)
        except MissingModel as error:
            return str(error)
        return ""


def _output_of(folder: str) -> str:
    """The stage's output that a folder lies in: models/assistant/pretrained is a part of models/assistant."""
    return "/".join(folder.split("/")[:2])
