"""MLflow model code of the assistant: logged by its path, so nothing is pickled.

mlflow.pyfunc.load_model("runs:/…/assistant").predict(["What is the plural of cat?"])   → ["cats"]
….predict(pandas.DataFrame({"instruction": […], "input": […]}), params={"temperature": 0.7, "seed": 1})
….predict([…], params={"max_new_tokens": 20})                                         at most the trained setting

A row without an input has "", None or NaN there. Served, requests that come side by side share a batch; those that
draw (temperature above 0) go alone, so that a seed gives the same answers however busy the server is. The environment's
SCRIPTORIUM_WEIGHTS says in which format the weights are held (`gpt/compact.py`).
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel

from serving.gathering import Gathering
from serving.requests import MAX_TEXTS, check_sizes, refusing
from serving.texts import texts_of

Entry = tuple[str, str]  # instruction, input


class AssistantModel(PythonModel):
    def load_context(self, context: Any) -> None:
        from serving.assistant import Assistant

        model, tokenizer = Path(context.artifacts["model"]), Path(context.artifacts["tokenizer"])
        self.assistant = Assistant.load(model, tokenizer, os.environ.get("SCRIPTORIUM_WEIGHTS", "float32"))
        self.gathering: Gathering[Entry, str] = Gathering(self._greedy, MAX_TEXTS)

    # Without type hints: MLflow would take them for a schema, and refuse tables.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        options = params or {}
        with refusing():
            entries = entries_of(model_input)
            limit = self.assistant.limit(options.get("max_new_tokens"))
            for entry in entries:
                self.assistant.prompt_tokens(*entry)  # a prompt that is too long is refused alone, not its neighbours
            temperature = float(options.get("temperature", 0.0))
            if temperature == 0.0:
                return self.gathering(limit, entries)
            seed = int(options.get("seed", 0))
            return self.assistant.answers(entries, temperature=temperature, seed=seed, max_new_tokens=limit)

    def _greedy(self, limit: Hashable, entries: list[Entry]) -> list[str]:
        assert isinstance(limit, int)
        return self.assistant.answers(entries, max_new_tokens=limit)


def entries_of(model_input: Any) -> list[Entry]:
    """(instruction, input) of every row. ValueError for what holds no texts, or too many or too long ones."""
    instructions = texts_of(model_input, "instruction")
    inputs = [""] * len(instructions)
    if isinstance(model_input, pd.DataFrame) and "input" in model_input:
        inputs = ["" if pd.isna(text) else str(text) for text in model_input["input"]]
    entries = list(zip(instructions, inputs, strict=True))
    check_sizes([instruction + text for instruction, text in entries])
    return entries


mlflow.models.set_model(AssistantModel())
