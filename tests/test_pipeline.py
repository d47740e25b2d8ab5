"""The whole pipeline, tiny, through the real engines: DVC alone and the Prefect flow, MLflow on SQLite."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from pipeline.graph import load_graph
from tests.tiny import CHANGES, EMBEDDED, environment_of, make_workspace, run

pytestmark = pytest.mark.pipeline
STAGES = ["download", "tokenize", "sample", "pretrain", "lora", "classify", "instruct", "evaluate"]


@pytest.fixture(scope="module")
def by_dvc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace after `dvc repro`."""
    folder = make_workspace(tmp_path_factory.mktemp("by_dvc"))
    run(folder, "dvc", "repro")
    run(folder, "python", "-m", "pipeline.sync")
    return folder


@pytest.fixture(scope="module")
def by_flow(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A workspace after the flow with parallel branches, and what the flow printed."""
    folder = make_workspace(tmp_path_factory.mktemp("by_flow"))
    try:
        done = run(folder, "python", "-m", "flows.train", "--parallel", "2")
        again = run(folder, "python", "-m", "flows.train")
    finally:
        run(folder, "python", "-m", "flows.services", "stop", check=False)
    return folder, done.stdout + "\n=====\n" + again.stdout


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / "reports" / name / "metrics.json").read_text())


def test_every_stage_leaves_what_dvc_yaml_promises(by_dvc):
    for spec in load_graph(by_dvc).values():
        for out in spec.outs:
            assert (by_dvc / out).exists(), out


def test_the_flow_with_parallel_branches_writes_the_same_lock_as_dvc(by_dvc, by_flow):
    assert (by_dvc / "dvc.lock").read_text() == (by_flow[0] / "dvc.lock").read_text()


def test_a_second_run_executes_nothing(by_dvc, by_flow):
    assert "Running stage" not in run(by_dvc, "dvc", "repro").stdout
    first, second = by_flow[1].split("=====")
    assert first.count("ran") >= 8
    assert second.count("cached") >= 8


def test_nothing_tracked_depends_on_the_place_or_the_time(by_dvc):
    for spec in load_graph(by_dvc).values():
        for out in map(by_dvc.joinpath, spec.outs):
            for file in [out] if out.is_file() else out.rglob("*"):
                if file.is_file():
                    assert str(by_dvc).encode() not in file.read_bytes(), file


def test_mlflow_holds_a_run_a_stage_with_parameters_metrics_data_and_models(by_flow):
    import mlflow

    folder = by_flow[0]
    store = sqlite3.connect(folder / ".scriptorium" / "mlflow.db")
    tags = store.execute("select value, run_uuid from tags where key = 'dvc.stage'").fetchall()
    runs = dict(tags)
    assert sorted(runs) == sorted(STAGES)
    parents = store.execute("select distinct value from tags where key = 'mlflow.parentRunId'").fetchall()
    assert len(parents) == 1
    assert store.execute("select distinct status from runs").fetchall() == [("FINISHED",)]
    assert "not sent yet" not in by_flow[1] and not list((folder / ".scriptorium/journal").iterdir())
    mlflow.set_tracking_uri(f"sqlite:///{folder}/.scriptorium/mlflow.db")
    client = mlflow.MlflowClient()
    found = client.get_run(runs["pretrain"])
    assert found.info.status == "FINISHED"
    assert found.data.params["pretrain.learning_rate"] == "0.001"
    assert found.data.params["model.emb_dim"] == "16"
    assert found.data.tags["runtime.threads"] == "1" and found.data.tags["runtime.dtype"] == "float32"
    assert {"runtime.processor", "runtime.features", "version.torch", "version.python"} <= set(found.data.tags)
    assert found.data.metrics["final/validation_loss"] == pytest.approx(read(folder, "pretrain")["validation_loss"])
    steps = [metric.step for metric in client.get_metric_history(runs["pretrain"], "loss")]
    assert steps == list(range(1, read(folder, "pretrain")["steps"] + 1))
    assert {item.dataset.name for item in found.inputs.dataset_inputs} >= {"data/tokens"}
    assert {item.path for item in client.list_artifacts(runs["evaluate"])} >= {"report.md", "plots"}
    answers = mlflow.pyfunc.load_model(f"runs:/{runs['instruct']}/assistant-pretrained").predict(
        ["What is the plural of cat?"]
    )
    assert len(answers) == 1
    assert isinstance(answers[0], str)
    for model in (f"runs:/{runs['classify']}/classifier-pretrained", f"runs:/{runs['lora']}/classifier-lora"):
        assert mlflow.pyfunc.load_model(model).predict(["WIN a free cat now, call 1234"])[0] in {"ham", "spam"}


def test_the_lora_start_is_the_base_and_all_share_one_split(by_dvc):
    rows = [json.loads(line) for line in (by_dvc / "reports/lora/predictions.jsonl").read_text().splitlines()]
    others = [json.loads(line) for line in (by_dvc / "reports/classify/predictions.jsonl").read_text().splitlines()]
    key = [(row["part"], row["index"], row["text"], row["expected"]) for row in rows]
    assert key == [(r["part"], r["index"], r["text"], r["expected"]) for r in others if r["variant"] == "pretrained"]
    assert read(by_dvc, "sample")["test_message_copies"] == 0


def test_the_report_reads(by_dvc):
    report = (by_dvc / "reports/evaluate/report.md").read_text()
    for heading in ("# What came out", "## The language model", "## Classifying messages", "## Following instructions"):
        assert heading in report
    for plot in (by_dvc / "reports/evaluate/plots").iterdir():
        assert f"(plots/{plot.name})" in report


def test_the_embedded_corpus_is_measured_against_its_floor_and_its_new_combinations_apart(tmp_path):
    folder = make_workspace(tmp_path, EMBEDDED)
    run(folder, "dvc", "repro")
    base, scores = read(folder, "pretrain"), read(folder, "evaluate")
    assert read(folder, "sample")["validation_documents_cut"] == 0
    assert base["loss_over_floor"] == pytest.approx(base["whole_validation_loss"] / base["entropy_floor"])
    assert 0.1 < base["entropy_floor"] < base["whole_validation_loss"] < base["first_validation_loss"]
    assert scores["language"]["pretrained"]["validation"]["loss"] == pytest.approx(
        base["whole_validation_loss"], rel=1e-4
    )
    assert scores["language"]["pretrained"]["validation"]["floor"] == base["entropy_floor"]
    assert {"validation", "test", "combinations"} <= set(scores["instruct"]["pretrained"])
    assert json.loads((folder / "models/base/scriptorium.json").read_text()) == {"begins_with_end_of_text": True}
    report = (folder / "reports/evaluate/report.md").read_text()
    assert "floor" in report and "ombination" in report
    assert (folder / "reports/pretrain/samples.jsonl").read_text().count("Long ago") >= 2


def test_dvcs_own_commands_work(by_dvc):
    assert "validation_loss" in run(by_dvc, "dvc", "metrics", "show").stdout
    assert "pretrain" in run(by_dvc, "dvc", "params", "diff", "--all").stdout
    run(by_dvc, "dvc", "plots", "show", "--json")
    run(by_dvc, "dvc", "exp", "run", "-S", "classify.learning_rate=0.01", "-n", "faster")
    shown = run(by_dvc, "dvc", "exp", "show", "--csv").stdout
    assert "faster" in shown
    assert "pretrained.validation_loss" in run(by_dvc, "dvc", "metrics", "diff", "HEAD", "faster", "--all").stdout
    lock = (by_dvc / "dvc.lock").read_text()
    run(by_dvc, "git", "checkout", "-q", "--", "params.yaml")
    restored = run(by_dvc, "dvc", "repro").stdout
    assert "Running stage" not in restored
    assert (by_dvc / "dvc.lock").read_text() != lock


def test_a_killed_training_goes_on_and_ends_in_the_same_bytes(by_dvc, tmp_path):
    folder = make_workspace(tmp_path)
    run(folder, "dvc", "repro", "sample")
    settings = environment_of(folder)
    stage = subprocess.Popen(["python", "-m", "stages.pretrain"], cwd=folder, env=settings, stderr=subprocess.DEVNULL)
    checkpoints = folder / ".scriptorium" / "checkpoints" / "pretrain"
    while stage.poll() is None and not list(checkpoints.rglob("step-20")):
        time.sleep(0.01)
    stage.kill()
    stage.wait()
    assert list(checkpoints.rglob("step-*"))
    assert not (folder / "models/base").exists()
    run(folder, "dvc", "repro", "pretrain")
    for name in ("model.safetensors", "config.json"):
        assert (folder / "models/base" / name).read_bytes() == (by_dvc / "models/base" / name).read_bytes()
    assert (folder / "reports/pretrain/curves/base.csv").read_text() == (
        by_dvc / "reports/pretrain/curves/base.csv"
    ).read_text()


def test_pretraining_goes_on_from_gpt2_weights(tmp_path):
    """A file that transformers wrote, named by pretrain.init, is where training starts."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    public = GPT2LMHeadModel(GPT2Config(vocab_size=300, n_positions=64, n_embd=64, n_head=1, n_layer=1))
    public.save_pretrained(tmp_path / "public")
    folder = tmp_path / "workspace"
    (folder / "data/own").mkdir(parents=True)
    shutil.copy(tmp_path / "public/model.safetensors", folder / "data/own/gpt2.safetensors")
    weights = {"name": "gpt2.safetensors", "url": "data/own/gpt2.safetensors", "sha256": None, "member": None}
    shape = CHANGES["model"] | {"emb_dim": 64, "n_heads": 1, "dropout": 0.0}
    changes = {"model": shape, "download.weights": [weights], "pretrain.init": "gpt2.safetensors"}
    make_workspace(folder, CHANGES | changes | {"pretrain.learning_rate": 1e-9, "pretrain.min_learning_rate": 0.0})
    run(folder, "dvc", "repro", "pretrain")
    trained = GPT2LMHeadModel.from_pretrained(folder / "models/base").eval()
    tokens = torch.arange(60)[None]
    with torch.no_grad():
        assert torch.allclose(trained(tokens).logits, public.eval()(tokens).logits, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("params.yaml", "learning_rate: 1e-3", "learning_rate: fast"), "learning_rate is 'fast'"),
        (("data/own/messages.tsv", "spam\tWIN a free cat now, call 1000", "spam WIN"), "messages.tsv:42: no tab"),
        (("data/own/instructions.json", '"instruction"', '"order"'), '"instruction" is missing'),
        (("data/own/messages.tsv", "ham\tsee", "eggs\tsee"), "label 'eggs' is not one of ham, spam"),
    ],
)
def test_a_users_mistake_is_one_clear_sentence(tmp_path, change, said):
    name, old, new = change
    folder = make_workspace(tmp_path)
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
    done = run(folder, "dvc", "repro", "sample", check=False)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "data/samples/messages").exists()


def test_two_results_are_compared_and_asked(by_dvc, tmp_path):
    folder = tmp_path / "workspace"
    shutil.copytree(by_dvc, folder)
    commit = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qam", "results"]
    run(folder, "git", "add", "dvc.lock")
    run(folder, *commit)
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("  rank: 2\n", "  rank: 1\n"))
    run(folder, "dvc", "repro", "evaluate")
    try:
        asked = ["--prompt", "What is the plural of cat?", "--name", "page"]
        done = run(folder, "python", "-m", "flows.compare", "HEAD", "workspace", *asked)
    finally:
        run(folder, "python", "-m", "flows.services", "stop", check=False)
    text = (folder / ".scriptorium" / "comparisons" / "page" / "comparison.md").read_text()
    assert "| lora.rank | 2 | 1 |" in text
    assert "**the same**: " in text
    assert "messages, pre-trained base" in text
    assert "## Asked now" in text and "are not here" not in text
    assert "## Instructions: pre-trained base" in text
    assert "The page: " in done.stdout
    store = sqlite3.connect(folder / ".scriptorium" / "mlflow.db")
    (names,) = zip(*store.execute("select name from runs where name = 'compare'"), strict=True)
    assert names == ("compare",)
