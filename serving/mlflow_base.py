"""MLflow model code of the base model, which writes on: logged by its path, so nothing is pickled.

mlflow.pyfunc.load_model("runs:/…/base").predict(["Long ago"])                         → [" Agnes was the innkeeper …"]
….predict([…], params={"temperature": 0.8, "seed": 1, "max_new_tokens": 100})          temperature 0 is greedy

The environment's SCRIPTORIUM_WEIGHTS says in which format the weights are held (`gpt/compact.py`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel

from serving.requests import check_sizes, refusing
from serving.texts import texts_of


class BaseModel(PythonModel):
    def load_context(self, context: Any) -> None:
        from serving.complete import Writer

        model, tokenizer = Path(context.artifacts["model"]), Path(context.artifacts["tokenizer"])
        self.writer = Writer.load(model, tokenizer, os.environ.get("SCRIPTORIUM_WEIGHTS", "float32"))

    # Without type hints: MLflow would take them for a schema, and refuse tables.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        options = params or {}
        with refusing():
            texts = texts_of(model_input, "text")
            check_sizes(texts)
            room = self.writer.model.config.context_length
            length = int(options.get("max_new_tokens", 60))
            if not 1 <= length <= room:
                raise ValueError(f"max_new_tokens is {length}: 1 to {room} are allowed")
            temperature, seed = float(options.get("temperature", 0.0)), int(options.get("seed", 0))
            write = self.writer.stream
            return ["".join(write(text, max_new_tokens=length, temperature=temperature, seed=seed)) for text in texts]


mlflow.models.set_model(BaseModel())
