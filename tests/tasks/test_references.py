"""References in a real repository: git, DVC's experiments and run cache, MLflow's runs and registry on SQLite."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.fingerprint import digest, locked_inputs, locked_outputs
from pipeline.store import store, tracking_uri
from tasks.dvc_repo import lock_entries
from tasks.references import resolve, resolve_all
from tests.tasks.tiny_repo import dvc, run, set_number


def commit(repo: Path, text: str) -> str:
    run(repo, "git", "add", "-A")
    run(repo, "git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", text)
    return run(repo, "git", "rev-parse", "HEAD").stdout.strip()


@pytest.fixture
def two(done: Path) -> Path:
    """Two commits with results: `first`, and the workspace, where right is made from another number."""
    commit(done, "first")
    run(done, "git", "tag", "first")
    set_number(done, "right", 2)
    dvc(done, "repro")
    commit(done, "second")
    return done


def test_the_workspace_and_a_revision(two):
    here, before = resolve_all(two, ["workspace", "first"])
    assert (here.params["right.number"], before.params["right.number"]) == (2, 1)
    assert (here.read("join.txt"), before.read("join.txt")) == (b"1+1+1+2+1", b"1+1+1+1+1")
    assert here.inputs["join"]["right.txt"] != before.inputs["join"]["right.txt"]
    assert here.inputs["join"]["left.txt"] == before.inputs["join"]["left.txt"]
    assert (here.dirty, here.commit) == (False, run(two, "git", "rev-parse", "HEAD").stdout.strip())
    set_number(two, "right", 3)
    assert resolve(two, "workspace").dirty
    assert resolve(two, "workspace").params["right.number"] == 2  # what made the results, not what lies there now


def test_files_come_from_the_cache_or_the_very_same_ones_from_the_workspace(two):
    shutil.rmtree(two / ".dvc" / "cache")
    here, before = resolve_all(two, ["workspace", "first"])
    assert here.read("right.txt") == b"2+1"
    assert before.read("right.txt") is None
    assert before.read("left.txt") == b"1+1"
    (two / "right.txt").write_text("by hand")
    assert here.read("right.txt") is None


def test_an_experiment(two):
    git = ["git", "config", "user.name", "t"], ["git", "config", "user.email", "t@localhost"]
    for command in git:
        run(two, *command)
    dvc(two, "exp", "run", "-S", "left.number=7", "-n", "seven")
    run(two, "git", "checkout", "-q", "HEAD", "--", ".")
    found = resolve(two, "seven")
    assert (found.kind, found.params["left.number"], found.read("left.txt")) == ("DVC experiment", 7, b"7+1")


def test_a_run_of_mlflow_and_a_registered_version_have_their_lineage(two, monkeypatch):
    entries = lock_entries(two)
    client = store(tracking_uri()).client
    parent = client.create_run(store(tracking_uri()).experiment_id, run_name="train")
    runs = {}
    for name in ("right", "join"):
        made = {
            "dvc.inputs": digest(locked_inputs(entries[name])),
            "dvc.outputs": digest(locked_outputs(entries[name])),
        }
        tags = {"dvc.stage": name, "mlflow.parentRunId": parent.info.run_id, "git.dirty": "true", **made}
        runs[name] = client.create_run(store(tracking_uri()).experiment_id, tags=tags).info.run_id
    client.create_registered_model("righteous")
    client.create_model_version("righteous", "file:///nowhere", run_id=runs["right"])
    client.set_registered_model_alias("righteous", "champion", "1")

    names = [
        runs["right"],
        "models:/righteous/1",
        "models:/righteous@champion",
        "righteous@champion",
        runs["right"][:12],
    ]
    for found in resolve_all(two, names):
        assert list(found.stages) == ["root", "right", "join"]  # what it was made from, and what was made of it
        assert (found.stage, found.dirty, found.read("right.txt")) == ("right", True, b"2+1")
        assert found.runs["right"] == runs["right"]
    whole = resolve(two, parent.info.run_id)
    assert (list(whole.stages), whole.stage) == (["root", "left", "right", "join"], None)

    shutil.rmtree(two / ".dvc" / "cache")  # another computer's run: MLflow alone knows of it
    client.log_param(runs["right"], "right.number", "2")
    client.log_metric(runs["right"], "final/loss/mean", 0.5)
    client.log_text(runs["right"], "a", "right.jsonl")
    client.log_text(runs["right"], "step,validation_loss", "curves/base.csv")
    found = resolve(two, runs["right"])
    assert (found.params, found.metrics) == ({"right.number": 2}, {"right": {"loss.mean": 0.5}})
    assert (found.read("reports/right/right.jsonl"), found.read("reports/right/none")) == (b"a", None)
    assert found.names("reports/right/curves") == ["base.csv"]
    assert found.read("reports/right/curves/base.csv") == b"step,validation_loss"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nonsense", "'nonsense' is not known here: allowed are `workspace`, a git revision"),
        ("--help", "is not known here"),
        ("models:/nothing/3", "no MLflow runs yet"),
        ("nothing@champion", "no MLflow runs yet"),
        ("0123456789abcdef0123456789abcdef", "no MLflow runs yet"),
    ],
)
def test_what_is_not_there_is_said(done, name, says):
    with pytest.raises(ValueError, match="allowed are `workspace`") as error:
        resolve(done, name)
    assert says in str(error.value)


def test_a_commit_without_dvc_lock_and_a_workspace_without_results(fresh):
    commit(fresh, "nothing ran")
    with pytest.raises(ValueError, match=r"holds no dvc\.lock.*commit dvc\.lock after a run"):
        resolve(fresh, "HEAD")
    with pytest.raises(ValueError, match=r"no dvc\.lock yet"):
        resolve(fresh, "workspace")
    with pytest.raises(ValueError, match="takes two results or more, not 1"):
        resolve_all(fresh, ["workspace"])
    with pytest.raises(ValueError, match="workspace is named twice"):
        resolve_all(fresh, ["workspace", "workspace"])
