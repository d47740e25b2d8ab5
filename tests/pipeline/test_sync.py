"""The journal replayed to a real MLflow on SQLite, killed and repeated at every place."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline import journal, ledger, paths, sync
from pipeline.journal import Journal, Sent
from pipeline.replay import Replay
from pipeline.store import Store, store

ROOT = Path(__file__).resolve().parents[2]
MODEL = """
import mlflow
class Shout(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        with open(context.artifacts["mark"]) as file:
            self.mark = file.read()
    def predict(self, context, model_input: list[str], params=None) -> list[str]:
        return [text.upper() + self.mark for text in model_input]
mlflow.models.set_model(Shout())
"""


@pytest.fixture
def server(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    return store(database)


def start(key: str, **fields: Any) -> Journal:
    begun = Journal(key)
    tags = {"dvc.stage": "pretrain", "dvc.inputs": key}
    begun.write("start", **{"name": "pretrain", "parent": None, "params": {"seed": 3}, "tags": tags} | fields)
    return begun


def history(server: Store, run_id: str, name: str) -> list[tuple[int, float, int]]:
    return [(point.step, point.value, point.timestamp) for point in server.client.get_metric_history(run_id, name)]


def test_a_finished_run_is_told_whole_and_forgotten(server: Store, tmp_path: Path) -> None:
    (tmp_path / "curve.csv").write_text("step,loss\n")
    run = start("whole", params={f"p{number}": "x" for number in range(150)})
    run.write("dataset", name="tokens", path="data/tokens", digest="d" * 32 + ".dir", context="train")
    for step in range(1200):
        run.metrics({"loss": 1 / (step + 1)}, step)
    run.write("artifact", file=run.keep(tmp_path / "curve.csv", "curve.csv"), folder="curves")
    run.write("tags", values={"dvc.outputs": "o"})
    run.end(journal.FINISHED)
    run_id = sync.send("whole")
    assert run_id is not None
    found = server.client.get_run(run_id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "pretrain")
    assert len(found.data.params) == 150
    assert found.data.tags["dvc.outputs"] == "o"
    assert found.inputs is not None
    assert [entry.dataset.digest for entry in found.inputs.dataset_inputs] == ["d" * 32 + ".dir"]
    assert [entry.path for entry in server.client.list_artifacts(run_id, "curves")] == ["curves/curve.csv"]
    assert [step for step, _, _ in history(server, run_id, "loss")] == list(range(1200))
    assert not (paths.journal() / "whole").exists()
    assert ledger.newest(stage="pretrain", inputs="whole", outputs="o") == {
        "stage": "pretrain", "inputs": "whole", "outputs": "o", "key": "whole", "run_id": run_id,
    }  # fmt: skip
    assert sync.send("whole") == run_id


def test_killed_between_sending_and_remembering_at_every_event(server: Store) -> None:
    """Whatever was remembered of the sending, MLflow ends with one run that holds every point once."""
    run = start("repeated")
    for step in range(3):
        run.metrics({"loss": 3.0 - step, "nan": float("nan")}, step)
        run.write("tags", values={"at": str(step)})
    run.end(journal.KILLED)
    run_id = sync.send("repeated")
    assert run_id is not None
    once = history(server, run_id, "loss")
    for _, offset in [({}, 0), *journal.events("repeated")]:
        for remembered in (run_id, None):
            Sent(server.uri, server.experiment_id, remembered, offset if remembered else 0).save("repeated")
            assert sync.send("repeated") == run_id
    assert history(server, run_id, "loss") == once
    assert len(history(server, run_id, "nan")) == 3
    assert len(server.client.search_runs([server.experiment_id], "tags.`scriptorium.key` = 'repeated'")) == 1


def test_a_resumed_run_goes_on_in_the_same_run(server: Store) -> None:
    first = start("resumed")
    for step in range(5):
        first.metrics({"loss": float(step)}, step)
    first.end(journal.KILLED)
    run_id = sync.send("resumed")
    assert run_id is not None
    assert server.client.get_run(run_id).info.status == "KILLED"
    before = history(server, run_id, "loss")
    again = start("resumed")
    for step in range(3, 7):
        again.metrics({"loss": float(step)}, step)
    assert sync.send("resumed") == run_id
    assert server.client.get_run(run_id).info.status == "RUNNING"
    again.end(journal.FINISHED)
    assert sync.send("resumed") == run_id
    after = history(server, run_id, "loss")
    assert after[:5] == before
    assert [step for step, _, _ in after] == list(range(7))


def test_a_child_makes_sure_of_its_parent(server: Store) -> None:
    start("the-flow")
    start("a-child", parent="the-flow")
    child, parent = sync.send("a-child"), journal.sent("the-flow").run_id
    assert child is not None
    assert parent is not None
    assert server.client.get_run(child).data.tags["mlflow.parentRunId"] == parent
    Journal("the-flow").end(journal.FINISHED)
    assert sync.send("the-flow") == parent
    start("late-child", parent="the-flow")
    late = sync.send("late-child")
    assert late is not None
    assert server.client.get_run(late).data.tags["mlflow.parentRunId"] == parent


def test_a_model_from_code_answers(server: Store, tmp_path: Path) -> None:
    """Also when its sending was cut off once, and with the files gone from where they lay."""
    import mlflow

    (tmp_path / "shout.py").write_text(MODEL)
    (tmp_path / "mark.txt").write_text("!")
    run = start("model")
    run.write(
        "model", name="shout", code=run.keep(tmp_path / "shout.py", "shout.py"), code_paths=[],
        artifacts={"mark": run.keep(tmp_path / "mark.txt", "mark.txt")},
        pip_requirements=["mlflow==3.17.2"], input_example=["a"],
    )  # fmt: skip
    (tmp_path / "mark.txt").unlink()
    run_id = sync.send("model")
    Sent(server.uri, server.experiment_id, None, 0).save("model")
    assert sync.send("model") == run_id
    found = server.client.search_logged_models([server.experiment_id], f"source_run_id = '{run_id}'")
    assert [model.status.value for model in found] == ["READY"]
    mlflow.set_tracking_uri(server.uri)
    assert mlflow.pyfunc.load_model(f"runs:/{run_id}/shout").predict(["hear", "hear"]) == ["HEAR!", "HEAR!"]


def test_what_is_refused_holds_up_nothing(server: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('not today')\n")
    run = start("refused")
    code = run.keep(tmp_path / "broken.py", "broken.py")
    run.write("model", name="m", code=code, code_paths=[], artifacts={}, pip_requirements=["x"], input_example=None)
    run.write("tags", values={"": "a tag needs a name"})
    run.write("artifact", file="files/gone", folder="")
    run.metrics({"loss": 1.0}, 0)
    run_id = sync.send("refused")
    assert run_id is not None
    assert [step for step, _, _ in history(server, run_id, "loss")] == [0]
    told = capsys.readouterr().out
    assert "not today" in told
    assert "files/gone" in told


def test_a_deleted_run_is_told_again(server: Store) -> None:
    run = start("again")
    run.metrics({"loss": 1.0}, 0)
    sync.send("again")
    state = journal.sent("again")
    state.run_id = "0" * 32
    state.save("again")
    run.metrics({"loss": 2.0}, 1)
    run_id = sync.send("again")
    assert run_id is not None
    assert [step for step, _, _ in history(server, run_id, "loss")] == [0, 1]


def test_a_pass_that_fails_remembers_what_arrived(server: Store) -> None:
    run = start("half")
    run.metrics({"loss": 1.0}, 0)
    run.write("summary", rows=[{"stage": "lora", "key": "elsewhere"}], text="")
    run.end(journal.FINISHED)

    def unreachable(key: str) -> str | None:
        raise ConnectionError(key)

    state = Sent(uri=server.uri)
    with pytest.raises(ConnectionError, match="elsewhere"):
        Replay(server, "half", state, run_of=unreachable).run()
    remembered = journal.sent("half")
    assert remembered.run_id is not None
    assert [event["type"] for event, _ in journal.events("half", remembered.offset)] == ["summary", "end"]
    assert sync.send("half") == remembered.run_id
    assert len(history(server, remembered.run_id, "loss")) == 1


def test_the_command_sends_what_is_left_over(server: Store) -> None:
    """Two journals written while nobody was there to send them, one of them on behalf of a run that was killed."""
    for key in ("left-1", "left-2"):
        run = start(key)
        run.metrics({"loss": 1.0}, 0)
    run.end(journal.FINISHED)
    done = subprocess.run([sys.executable, "-m", "pipeline.sync"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("2 of 2 journals sent to sqlite:////")
    assert server.find({"scriptorium.key": "left-1"}) == sync.run_id_of("left-1")
    assert journal.unsent() == []
    shutil.rmtree(paths.journal())
    assert sync.run_id_of("left-2") == server.find({"scriptorium.key": "left-2"})
