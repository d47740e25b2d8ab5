"""MLflow model code of the classifier: logged by its path, so nothing is pickled.

mlflow.pyfunc.load_model("runs:/…/classifier").predict(["free prize, call now"])      → ["spam"]
….predict([…], params={"probabilities": True})                                        → [{"label": …, "ham": …, …}]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel

from serving.requests import check_sizes, refusing
from serving.texts import texts_of


class ClassifierModel(PythonModel):
    def load_context(self, context: Any) -> None:
        from serving.classifier import TextClassifier

        paths = {name: Path(path) for name, path in context.artifacts.items()}
        self.classifier = TextClassifier.load(paths["model"], paths["tokenizer"], paths.get("base"))

    # Without type hints: MLflow would take them for a schema, and refuse tables.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        with refusing():
            texts = texts_of(model_input, "text")
            check_sizes(texts)
        table = self.classifier.probabilities(texts)
        labels = [self.classifier.labels[best] for best in table.argmax(axis=1)]
        if not (params or {}).get("probabilities"):
            return labels
        columns = pd.DataFrame(table, columns=self.classifier.labels).to_dict("records")
        return [{"label": label, **row} for label, row in zip(labels, columns, strict=True)]


mlflow.models.set_model(ClassifierModel())
