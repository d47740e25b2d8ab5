"""Registering, gate, rollback and lineage over a real DVC repository, git, and MLflow on SQLite; models are texts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.fingerprint import digest, locked_inputs, locked_outputs
from tasks import registry, trace
from tasks.checkout import SAME, check_out, in_words
from tasks.dvc_repo import lock_entries
from tasks.lineage import tree_of
from tasks.registry import CHALLENGER, CHAMPION
from tasks.validation import scores
from tests.tasks.tiny_repo import dvc, make_repo, python, run
from tests.tiny import ROOT

PROMOTED, REFUSED, KEPT = "promoted", "refused", "champion already"
ITEMS = 60
NAME = "scriptorium-classifier"
CLASSIFY = f"""
import json
from pathlib import Path
right = int(Path("right.txt").read_text())
for folder in ("models/classifier/pretrained", "reports/classify"):
    Path(folder).mkdir(parents=True, exist_ok=True)
Path("models/classifier/pretrained/weights.json").write_text(str(right))
Path("reports/classify/said.json").write_text(json.dumps([int(item < right) for item in range({ITEMS})]))
"""
EVALUATE = """
import json
from pathlib import Path
said = json.loads(Path("reports/classify/said.json").read_text())
rows = [
    {"task": "classify", "variant": "pretrained", "part": part, "index": index, "correct": bool(one)}
    for part in ("validation", "test") for index, one in enumerate(said)
]
Path("reports/evaluate").mkdir(parents=True, exist_ok=True)
Path("reports/evaluate/predictions.jsonl").write_text("".join(json.dumps(row) + chr(10) for row in rows))
metrics = {"classify": {"pretrained": {"validation": {"accuracy": sum(said) / len(said)}}},
           "leakage": {"messages": {"validation": {"items": len(said), "copies_of_training": 0}}}}
Path("reports/evaluate/metrics.json").write_text(json.dumps(metrics))
"""
SPLIT = """
from pathlib import Path
Path("data/samples/messages").mkdir(parents=True, exist_ok=True)
Path("data/tokenizer").mkdir(parents=True, exist_ok=True)
Path("data/samples/messages/validation.jsonl").write_text(Path("items.txt").read_text())
Path("data/tokenizer/tokens.txt").write_text("a b c")
"""
STAGES = {
    "sample": {"cmd": python("split"), "deps": ["split.py", "items.txt"],
               "outs": ["data/samples/messages", "data/tokenizer"]},
    "classify": {"cmd": python("classify"), "deps": ["classify.py", "right.txt", "data/samples/messages"],
                 "params": ["classify"], "outs": ["models/classifier", "reports/classify/said.json"]},
    "evaluate": {"cmd": python("evaluate"), "deps": ["evaluate.py", "reports/classify/said.json"],
                 "outs": ["reports/evaluate/predictions.jsonl", "reports/evaluate/metrics.json"]},
}  # fmt: skip


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with 45 of 60 right, reproduced and committed."""
    root = tmp_path_factory.mktemp("promote") / "repo"
    make_repo(root, STAGES, {}, {"split": SPLIT, "classify": CLASSIFY, "evaluate": EVALUATE})
    shutil.copyfile(ROOT / "params.yaml", root / "params.yaml")
    (root / ".gitignore").write_text("/data\n/models\n/reports\n/.scriptorium\n")
    (root / "items.txt").write_text("the same items\n")
    make(root, 45)
    return root


@pytest.fixture
def repo(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "repo"
    shutil.copytree(template, root, symlinks=True)
    dvc(root, "config", "core.site_cache_dir", str(root / ".dvc" / "site"))
    run(root, "git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qam", "moved")
    monkeypatch.chdir(root)
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(root / ".scriptorium"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/.scriptorium/mlflow.db")
    log_run(root)
    return root


def make(root: Path, right: int) -> None:
    """Another model: so many right. Committed, as someone who promotes would."""
    (root / "right.txt").write_text(str(right))
    dvc(root, "repro")
    run(root, "git", "add", "-A")
    run(root, "git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", f"{right} right")


def log_run(root: Path) -> None:
    """The MLflow run that the stage would have made, with its model."""
    server = registry.registry()
    entry = lock_entries(root)["classify"]
    tags = {"dvc.stage": "classify", "dvc.inputs": digest(locked_inputs(entry)), "git.dirty": "false",
            "dvc.outputs": digest(locked_outputs(entry)), "version.torch": "2.13.0",
            "mlflow.source.git.commit": run(root, "git", "rev-parse", "HEAD").stdout.strip()}  # fmt: skip
    from mlflow.entities import LoggedModelOutput

    made = server.client.create_run(server.experiment_id, tags=tags)
    model = server.client.create_logged_model(
        server.experiment_id, name="classifier-pretrained", source_run_id=made.info.run_id
    )
    server.client.log_model_artifacts(model.model_id, str(root / "models"))
    server.client.log_outputs(made.info.run_id, [LoggedModelOutput(model.model_id, step=0)])
    server.client.finalize_logged_model(model.model_id, "READY")


def another(root: Path, right: int) -> None:
    make(root, right)
    log_run(root)


def promote_one(root: Path, name: str, again: bool = False) -> Any:
    from flows import promote  # late: it sets what Prefect reads

    return promote.promote_one(root, name, again)


def champion() -> int:
    found = registry.with_alias(NAME, CHAMPION)
    assert found is not None
    return found.number


def test_a_life_of_versions(repo: Path) -> None:
    first = promote_one(repo, "classifier")
    assert (first.what, first.version, champion()) == (PROMOTED, 1, 1)
    assert promote_one(repo, NAME).what == KEPT

    another(repo, 46)  # one item more is noise
    noise = promote_one(repo, NAME)
    assert (noise.what, noise.version, champion()) == (REFUSED, 2, 1)
    challenger = registry.with_alias(NAME, CHALLENGER)
    assert challenger is not None
    assert challenger.number == 2
    assert challenger.tags["gate.decision"] == REFUSED
    assert "by more than noise" in challenger.tags["gate.why"]

    another(repo, 60)
    better = promote_one(repo, NAME)
    assert (better.what, better.version, better.before, champion()) == (PROMOTED, 3, 1, 3)
    assert registry.with_alias(NAME, CHALLENGER) is None
    going, back = registry.rollback("classifier")
    assert (going.number, back.number, champion()) == (3, 1, 1)
    with pytest.raises(ValueError, match="the first champion"):
        registry.rollback(NAME)

    assert "was rolled back to version 1" in promote_one(repo, NAME).why
    assert champion() == 1
    assert promote_one(repo, NAME, again=True).what == PROMOTED
    assert champion() == 3
    assert [version.number for version in registry.versions(NAME)] == [3, 2, 1], "the same bytes are one version"

    make(repo, 20)
    with pytest.raises(ValueError, match="no run of classify that made models/classifier/pretrained"):
        promote_one(repo, NAME)
    log_run(repo)
    assert "a guard does not hold: validation accuracy 0.3333, at least 0.6" in promote_one(repo, NAME).why

    (repo / "right.txt").write_text("1")
    with pytest.raises(ValueError, match=r"classify is not up to date \(right.txt changed\)"):
        promote_one(repo, NAME)


def test_lineage_and_checkout(repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    promote_one(repo, NAME)
    another(repo, 60)  # the workspace goes on
    version = registry.named(f"{NAME}@champion")
    record = registry.recorded(version)
    from rich.console import Console

    console = Console(width=500, record=True, file=(tmp_path / "out").open("w"))
    console.print(tree_of(version, record))
    shown = console.export_text()
    for entry in record["stages"].values():
        for item in (*entry["deps"], *entry["outs"]):
            assert f"{item['path']}  {item['md5']}" in shown
    assert "evaluate" not in record["stages"]

    commit = version.tags["git.commit"]
    found = check_out(repo, commit, record, tmp_path / "old")
    assert all(each.state == SAME for each in found)
    assert (tmp_path / "old/models/classifier/pretrained/weights.json").read_text() == "45"
    assert (repo / "models/classifier/pretrained/weights.json").read_text() == "60"
    assert trace.main([f"{NAME}@champion", "--checkout", str(tmp_path / "traced")]) == 0
    assert capsys.readouterr().out.endswith("sources are the same, bit for bit\n")
    assert trace.main([f"{NAME}/9"]) == 1
    assert "there is no such version" in capsys.readouterr().err
    with pytest.raises(ValueError, match="exists"):
        check_out(repo, commit, record, tmp_path / "old")
    with pytest.raises(ValueError, match="not in this repository"):
        check_out(repo, "0" * 40, record, tmp_path / "never")
    assert not (tmp_path / "never").exists()

    later = run(repo, "git", "rev-parse", "HEAD").stdout.strip()  # as if right.txt had not been committed then
    shutil.rmtree(repo / ".dvc/cache")
    said = in_words(check_out(repo, later, record, tmp_path / "partial"), tmp_path / "partial", dirty=True)
    assert "right.txt" in said
    assert "differs in the commit: the tree was dirty" in said
    assert "models/classifier  " in said
    assert "is not in DVC's cache" in said


def test_scores_follow_the_items(repo: Path) -> None:
    """Without scores of the present items both are scored again; what can't be is told, and nothing promoted."""
    promote_one(repo, NAME)
    version = registry.named(NAME)
    rows, none, source = scores(repo, version)
    assert [row["correct"] for row in rows] == [1] * 45 + [0] * 15
    assert none is None
    assert source == "as the stages scored them"
    (repo / "items.txt").write_text("other items\n")
    another(repo, 60)
    with pytest.raises(ValueError, match=r"scriptorium-classifier version \d could not be scored"):
        promote_one(repo, NAME)
    assert champion() == 1


def test_as_a_flow(repo: Path, server: str) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.promote import promote

    with temporary_settings({PREFECT_API_URL: f"{server}/api"}):
        state = promote([NAME], return_state=True)
        assert state.is_completed()
        assert f"{NAME} version 1 promoted: the first version, and every guard holds" in str(state.message)
        failed = promote(["scriptorium-assistant"], return_state=True)
    assert failed.is_failed()
    assert "dvc.yaml has no stage 'instruct'" in str(failed.message)
    artifacts = registry.registry().client.list_artifacts(registry.named(NAME).run_id, "gate")
    assert [each.path for each in artifacts] == ["gate/classifier-1-beside-none.md"]
