"""What the stages log is what MLflow serves: journal, replay, database, load_model, predict with params."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from gpt.compact import BFloat16Linear, Int8Linear
from pipeline import sync
from pipeline.graph import load_graph
from pipeline.journal import FINISHED, Journal
from pipeline.params import load_params
from pipeline.signals import Stopper
from pipeline.stage import Stage
from serving.assistant import Assistant
from serving.classifier import TextClassifier
from serving.complete import Writer
from serving.mlflow_assistant import AssistantModel
from serving.mlflow_base import BaseModel
from stages.bundles import log_assistant, log_base, log_classifier
from tests.listening import all_loopback, listening
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
        log_base(stage, folders["base"], folders["tokenizer"], "base")
        stage.journal.end(FINISHED)
        run_id = sync.send("served")
        mlflow.set_tracking_uri(f"sqlite:///{home}/mlflow.db")
        names = ("classifier", "adapted", "assistant", "base")
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
        "base": {"temperature": 0.0, "seed": 0, "max_new_tokens": 60},
    }


def test_the_base_writes_on(logged: dict[str, Any], folders: dict[str, Path]) -> None:
    writer = Writer.load(folders["base"], folders["tokenizer"])
    options = {"temperature": 1.0, "seed": 3, "max_new_tokens": 5}
    written = ["".join(writer.stream(text, **options)) for text in TEXTS]  # type: ignore[arg-type]
    assert logged["base"].predict(TEXTS, params=options) == written
    with pytest.raises(MlflowException, match="1 to 64 are allowed"):
        logged["base"].predict(TEXTS, params={"max_new_tokens": 65})


@pytest.mark.parametrize(("name", "held"), [("assistant", AssistantModel), ("base", BaseModel)])
def test_the_environment_says_how_weights_are_held(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, name: str, held: type[AssistantModel | BaseModel]
) -> None:
    context = SimpleNamespace(artifacts={"model": str(folders[name]), "tokenizer": str(folders["tokenizer"])})
    for value, layer in (("int8", Int8Linear), ("bfloat16", BFloat16Linear)):
        monkeypatch.setenv("SCRIPTORIUM_WEIGHTS", value)
        model = held()
        model.load_context(context)
        assert isinstance((model.assistant if name == "assistant" else model.writer).model.head, layer)
    monkeypatch.setenv("SCRIPTORIUM_WEIGHTS", "int4")
    with pytest.raises(ValueError, match="weights is 'int4': it must be one of float32, bfloat16, int8"):
        held().load_context(context)


@pytest.fixture(scope="module")
def served(logged: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `mlflow models serve` with the assistant, as its own command line starts it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    uri = f"models:/{logged['assistant'].metadata.model_id}"
    server = ["-m", "mlflow", "models", "serve", "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    settings = os.environ | {
        "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [sys.executable, str(ROOT / "tasks" / "supervise.py"), "--grace", "5", "--"]
    log = tmp_path_factory.mktemp("served") / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, sys.executable, *server, "-m", uri], stdin=subprocess.PIPE, stdout=out, stderr=out, env=settings
        )
    try:
        deadline = time.monotonic() + 120
        while ask(f"http://127.0.0.1:{port}/ping", None)[0] != 200:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
    assert ask(f"http://127.0.0.1:{port}/ping", None)[0] == 0, "the server outlived its lifeline"


def ask(address: str, body: Any) -> tuple[int, Any]:
    """(status, answer); status 0: nobody listens."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read().strip() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
    except OSError:
        return 0, None


def test_over_http_concurrent_questions_get_what_each_gets_alone(served: str, assistant: Assistant) -> None:
    entries = [(f"What is the plural of {word}?", "") for word in ("cat", "dog", "river", "prize", "day")] * 4

    def one(number: int) -> Any:
        drawn = {"params": {"temperature": 1.5, "seed": number}} if number % 2 else {}
        return ask(served, {"inputs": [entries[number][0]], **drawn})

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(len(entries))))
    for number, entry in enumerate(entries):
        drawn = {"temperature": 1.5, "seed": number} if number % 2 else {}
        assert found[number] == (200, {"predictions": assistant.answers([entry], **drawn)})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"inputs": ["x"], "params": {"max_new_tokens": MAX_NEW_TOKENS + 1}}, f"1 to {MAX_NEW_TOKENS} are allowed"),
        ({"inputs": ["x"], "params": {"temperature": -1.0}}, "temperature is -1.0"),
        ({"inputs": ["x"], "params": {"temperature": "hot"}}, "temperature"),
        ({"inputs": ["word " * 500]}, "tokens: at most 63 are allowed"),
        ({"inputs": ["w" * 20_001]}, "20001 characters: at most 20000 are allowed"),
        ({"inputs": ["x"] * 65}, "65 texts: 1 to 64 are allowed"),
        ({"inputs": []}, "0 texts"),
        ({"inputs": [3]}, "3 is not a text"),
        ({"dataframe_records": [{"one": "a", "two": "b"}]}, "'instruction' is needed"),
        ({"something": 1}, "exactly one of the input fields"),
        (b"no json", "valid JSON"),
    ],
)
def test_over_http_a_bad_request_is_told_why(served: str, body: Any, reason: str) -> None:
    status, said = ask(served, body)
    assert status == 400
    assert reason in said["message"]
    assert "Traceback" not in json.dumps(said)


def test_nothing_is_pickled(logged: dict[str, Any]) -> None:
    for model in logged.values():
        folder = Path(mlflow.artifacts.download_artifacts(f"models:/{model.metadata.model_id}"))
        names = {file.suffix for file in folder.rglob("*") if file.is_file()}
        assert ".safetensors" in names
        assert not names & {".pkl", ".pickle", ".pt", ".pth", ".joblib", ".bin"}


def test_the_scoring_server_listens_on_the_loopback_only(served: str) -> None:
    sockets = listening()
    assert urlsplit(served).port in sockets and all_loopback(sockets)
