"""MLflow model code of the assistant: logged by its path, so nothing is pickled.

mlflow.pyfunc.load_model("runs:/…/assistant").predict(["What is the plural of cat?"])   → ["cats"]
….predict(pandas.DataFrame({"instruction": […], "input": […]}), params={"temperature": 0.7, "seed": 1})
….predict([…], params={"max_new_tokens": 20})                                         at most the trained setting

A row without an input has "", None or NaN there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel

from serving.texts import texts_of


class AssistantModel(PythonModel):
    def load_context(self, context: Any) -> None:
        from serving.assistant import Assistant

        self.assistant = Assistant.load(Path(context.artifacts["model"]), Path(context.artifacts["tokenizer"]))

    # Without type hints: MLflow would take them for a schema, and refuse tables.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        options = params or {}
        instructions = texts_of(model_input, "instruction")
        inputs = [""] * len(instructions)
        if isinstance(model_input, pd.DataFrame) and "input" in model_input:
            inputs = ["" if pd.isna(text) else str(text) for text in model_input["input"]]
        return self.assistant.answers(
            list(zip(instructions, inputs, strict=True)),
            temperature=float(options.get("temperature", 0.0)),
            seed=int(options.get("seed", 0)),
            max_new_tokens=options.get("max_new_tokens"),
        )


mlflow.models.set_model(AssistantModel())
