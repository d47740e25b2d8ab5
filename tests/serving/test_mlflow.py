"""What the stages log is what MLflow serves: journal, replay, database, load_model, predict with params."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from pipeline import sync
from pipeline.graph import load_graph
from pipeline.journal import FINISHED, Journal
from pipeline.params import load_params
from pipeline.signals import Stopper
from pipeline.stage import Stage
from serving.assistant import Assistant
from serving.classifier import TextClassifier
from stages.bundles import log_assistant, log_classifier
from tests.serving.conftest import LABELS, MAX_NEW_TOKENS

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = ["What is the plural of cat?", "Repeat the word."]
TEXTS = ["Win a free prize now!", "The cat sees the dog."]


@pytest.fixture(scope="module")
def logged(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The models of one stage's run, loaded from MLflow: classifier, adapted, assistant."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("SCRIPTORIUM_HOME", str(home))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
        patch.setattr(sys, "path", list(sys.path))  # MLflow puts each model's code first
        stage = Stage("classify", load_params(), load_graph()["classify"], {}, Stopper())
        stage.journal = Journal("served")
        stage.journal.write("start", name="classify", parent=None, params={}, tags={})
        log_classifier(stage, folders["classifier"], folders["tokenizer"], "classifier")
        log_classifier(stage, folders["adapter"], folders["tokenizer"], "adapted", folders["base"])
        log_assistant(stage, folders["assistant"], folders["tokenizer"], "assistant")
        stage.journal.end(FINISHED)
        run_id = sync.send("served")
        mlflow.set_tracking_uri(f"sqlite:///{home}/mlflow.db")
        names = ("classifier", "adapted", "assistant")
        return {name: mlflow.pyfunc.load_model(f"runs:/{run_id}/{name}") for name in names}


@pytest.fixture(scope="module")
def assistant(folders: dict[str, Path]) -> Assistant:
    return Assistant.load(folders["assistant"], folders["tokenizer"])


@pytest.mark.parametrize("name", ["classifier", "adapted"])
@pytest.mark.parametrize("shape", [list, pd.Series, lambda texts: pd.DataFrame({"id": [1, 2], "text": texts})])
def test_the_classifier_answers_with_labels_or_probabilities(
    logged: dict[str, Any], folders: dict[str, Path], name: str, shape: Callable[[list[str]], Any]
) -> None:
    source = ("adapter", folders["base"]) if name == "adapted" else ("classifier", None)
    direct = TextClassifier.load(folders[source[0]], folders["tokenizer"], source[1])
    labels = direct.classify(TEXTS)
    assert logged[name].predict(shape(TEXTS)) == labels
    rows = logged[name].predict(shape(TEXTS), params={"probabilities": True})
    assert [row["label"] for row in rows] == labels
    found = np.array([[row[label] for label in LABELS] for row in rows])
    np.testing.assert_allclose(found, direct.probabilities(TEXTS), atol=1e-6)


def test_the_assistant_takes_questions_and_params(logged: dict[str, Any], assistant: Assistant) -> None:
    entries = [(question, "") for question in QUESTIONS]
    served = logged["assistant"]
    assert served.predict(QUESTIONS) == assistant.answers(entries)
    assert served.predict(QUESTIONS[0]) == assistant.answers(entries[:1])
    drawn = served.predict(QUESTIONS, params={"temperature": 2, "seed": 1})
    assert drawn == assistant.answers(entries, temperature=2.0, seed=1)
    assert drawn != served.predict(QUESTIONS, params={"temperature": 2.0, "seed": 2})
    assert served.predict(QUESTIONS, params={"max_new_tokens": 1}) == assistant.answers(entries, max_new_tokens=1)


@pytest.mark.parametrize("nothing", ["", None, float("nan"), pd.NA])
def test_a_row_of_the_table_may_lack_an_input(logged: dict[str, Any], assistant: Assistant, nothing: Any) -> None:
    answers = assistant.answers([(QUESTIONS[0], ""), (QUESTIONS[1], "river")])
    table = pd.DataFrame({"instruction": QUESTIONS, "input": [nothing, "river"]})
    assert logged["assistant"].predict(table) == answers
    empty = pd.DataFrame({"instruction": QUESTIONS[:1], "input": [nothing]})
    assert logged["assistant"].predict(empty) == answers[:1]
    assert logged["assistant"].predict(table[["instruction"]])[0] == answers[0]


def test_params_out_of_range_or_of_another_type_are_refused(logged: dict[str, Any]) -> None:
    with pytest.raises(MlflowException, match=f"1 to {MAX_NEW_TOKENS} are allowed"):
        logged["assistant"].predict(QUESTIONS, params={"max_new_tokens": MAX_NEW_TOKENS + 1})
    with pytest.raises(MlflowException, match="temperature"):
        logged["assistant"].predict(QUESTIONS, params={"temperature": "hot"})
    with pytest.raises(MlflowException, match="probabilities"):
        logged["classifier"].predict(TEXTS, params={"probabilities": "yes"})


def test_the_params_stand_in_the_signature(logged: dict[str, Any]) -> None:
    described = {name: model.metadata.get_params_schema().to_dict() for name, model in logged.items()}
    defaults = {name: {param["name"]: param["default"] for param in params} for name, params in described.items()}
    assert defaults == {
        "classifier": {"probabilities": False},
        "adapted": {"probabilities": False},
        "assistant": {"temperature": 0.0, "seed": 0, "max_new_tokens": MAX_NEW_TOKENS},
    }
