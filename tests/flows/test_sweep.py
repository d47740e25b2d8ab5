"""Sweeps over real DVC, git, Optuna, Prefect and MLflow, on stages of a few lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.flows.sweeping import PROJECT, counted, executed, make_sweep_repo, write_sweep
from tests.tasks.tiny_repo import dvc, read_yaml, run


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sweep_repo(tmp_path_factory.mktemp("sweeps") / "repo")


@pytest.fixture
def repo(template: Path, tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone's folder with a home of its own; the Prefect server is the one of all tests."""
    folder = tmp_path / "repo"
    run(tmp_path, "cp", "-a", str(template), str(folder))
    dvc(folder, "config", "core.site_cache_dir", str(folder / ".dvc" / "site"))
    run(folder, "git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qam", "A place for DVC")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SCRIPTORIUM_SYNC", "0")
    monkeypatch.setenv("PREFECT_API_URL", f"{server}/api")
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def where(repo: Path) -> Path:
    return repo.parent / "home"


def command(file: Path, *more: str) -> list[str]:
    return [sys.executable, "-P", "-m", "flows.sweep", file.name, *more]


def sweep(file: Path, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, **environment}
    return subprocess.run(command(file, *more), env=settings, capture_output=True, text=True, timeout=300)


def states(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """{trial: its line in the closing table}."""
    return {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("rates-")}


def test_a_grid_in_processes_runs_what_is_common_once_and_its_best_can_be_applied(repo: Path, where: Path) -> None:
    (repo / "notes.txt").write_text("neither tracked nor ignored")
    file = write_sweep(repo, runner="processes", parallel=3, apply=True, stages=["lora"])
    done = sweep(file, TINY_SLOW="2", SCRIPTORIUM_SYNC="1")
    assert done.returncode == 0, done.stderr
    assert counted(executed(where)) == {"tokenize": 1, "pretrain": 3, "lora": 3}, "who waited took DVC's result"
    assert "waiting: " in done.stderr
    assert list(states(done)) == ["rates-001", "rates-002", "rates-000"], "the best first"
    assert "Best: rates-001 with pretrain.learning_rate 0.01: pretrain validation_loss 0.25" in done.stdout
    shown = json.loads(dvc(repo, "exp", "show", "--json").stdout)
    experiments = [row["revs"][0] for entry in shown for row in entry.get("experiments") or ()]
    tried = {
        one["name"]: (
            one["data"]["params"]["params.yaml"]["data"]["pretrain"]["learning_rate"],
            one["data"]["metrics"]["reports/pretrain/metrics.json"]["data"]["validation_loss"],
        )
        for one in experiments
    }
    assert tried == {"rates-000": (0.03, 2.25), "rates-001": (0.01, 0.25), "rates-002": (0.02, 1.25)}
    assert read_yaml(repo / "params.yaml")["pretrain"]["learning_rate"] == 0.01
    assert json.loads((repo / "reports/lora/metrics.json").read_text())["validation_loss"]
    assert "up to date" in dvc(repo, "status").stdout
    folder = where / "sweeps" / "rates"
    assert not list(folder.glob("trials/*/workspace")) and (folder / "parallel.png").stat().st_size > 1000
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2 and 'src="http' not in page and "rates-002" in page
    again = sweep(file)
    assert again.returncode == 0 and len(executed(where)) == 7, "what was tried is not tried again"
    mlflow_has_one_parent_with_a_run_for_each_trial(where)


def mlflow_has_one_parent_with_a_run_for_each_trial(where: Path) -> None:
    from pipeline.store import Store

    server = Store(f"sqlite:///{where / 'mlflow.db'}")
    runs = {found.info.run_name: found for found in server.client.search_runs([server.experiment_id])}
    parent = runs.pop("sweep-rates")
    assert parent.data.metrics["objective"] == 0.25 and parent.data.params["sampler"] == "grid"
    trials = {"rates-000": (0.03, 2.25), "rates-001": (0.01, 0.25), "rates-002": (0.02, 1.25)}
    for name, (rate, value) in trials.items():
        tags = runs[name].data.tags
        assert (tags["mlflow.parentRunId"], tags["scriptorium.state"]) == (parent.info.run_id, "complete")
        assert runs[name].data.metrics["objective"] == value and runs[name].info.status == "FINISHED"
        assert runs[name].data.params == {"pretrain.learning_rate": str(rate)}
    artifacts = {file.path for file in server.client.list_artifacts(parent.info.run_id, "sweep")}
    assert artifacts == {f"sweep/{name}" for name in ("trials.csv", "report.html", "parallel.png", "importance.png")}


def test_a_bad_trial_ends_early_and_is_pruned_not_failed(repo: Path, where: Path) -> None:
    pruner = {"kind": "median", "metric": "validation_loss", "startup_trials": 1}
    file = write_sweep(repo, pruner=pruner, parameters={"pretrain.learning_rate": [0.01, 0.03]})
    done = sweep(file, TINY_PAUSE="1.5")
    assert done.returncode == 0, done.stderr
    assert "pruned at step 0" in states(done)["rates-001"] and "complete" in states(done)["rates-000"]
    result = json.loads((where / "sweeps/rates/trials/001/result.json").read_text())
    assert (result["what"], result["value"], result["stages"]["pretrain"]) == ("pruned", None, "stopped")
    shown = dvc(repo, "exp", "show", "--csv").stdout
    pruned = next(line for line in shown.splitlines() if "rates-001" in line)
    assert "0.03" in pruned and "2.25" not in pruned, "an experiment without a metric, not with somebody else's"


def test_numbers_that_are_no_numbers_are_a_result_other_failures_are_tried_again(repo: Path, where: Path) -> None:
    file = write_sweep(repo, parameters={"pretrain.learning_rate": [0.9, 0.01]})
    done = sweep(file)
    assert done.returncode == 0 and " failed " in states(done)["rates-000"]
    assert counted(executed(where)) == {"tokenize": 1, "pretrain": 1}, "a diverged one leaves no line"
    (repo / "shared.py").write_text("import sys; sys.exit('the disk is gone')")
    other = write_sweep(repo, "rates-b", parameters={"pretrain.learning_rate": [0.1, 0.2, 0.3, 0.4]})
    failed = sweep(other)
    assert failed.returncode == 1
    assert "3 trials in a row failed, the last one: tokenize: the disk is gone" in failed.stderr.splitlines()[-1]
    assert len(list((where / "sweeps/rates-b/trials").iterdir())) == 3


def test_killed_half_way_it_goes_on_where_it_was(repo: Path, where: Path) -> None:
    file = write_sweep(repo, parameters={"pretrain.learning_rate": [0.01, 0.02, 0.03]})
    (where / "wait").touch()
    with subprocess.Popen(command(file), stdout=-1, stderr=-1, text=True) as flow:
        while not (where / "waiting").exists():  # the first trial's training has begun
            assert flow.poll() is None
            time.sleep(0.05)
        (where / "waiting").unlink()
        (where / "wait").unlink()
        while not (where / "sweeps/rates/trials/001/workspace").exists():
            time.sleep(0.02)
        (where / "wait").touch()
        while not (where / "waiting").exists():
            assert flow.poll() is None
            time.sleep(0.02)
        family = psutil.Process(flow.pid).children(recursive=True)
        flow.send_signal(signal.SIGKILL)
        flow.communicate()
    psutil.wait_procs(family, timeout=30)
    assert not [process for process in family if process.is_running() and "train.py" in process.cmdline()]
    (where / "wait").unlink()
    done = sweep(file)
    assert done.returncode == 0, done.stderr
    rates = [line.split()[1] for line in executed(where) if line.startswith("pretrain")]
    assert rates == ["0.01", "0.02", "0.02", "0.03"], (
        "the finished one once, the running one resumed, the last one once"
    )
    assert counted(executed(where))["tokenize"] == 1
    assert sorted(states(done)) == ["rates-000", "rates-001", "rates-002"] and done.stdout.count(" complete ") == 3


def test_stopped_by_ctrl_c_nothing_is_left(repo: Path, where: Path) -> None:
    file = write_sweep(repo)
    (where / "wait").touch()
    with subprocess.Popen(command(file), stdout=-1, stderr=-1, text=True, start_new_session=True) as flow:
        while not (where / "waiting").exists():
            assert flow.poll() is None
            time.sleep(0.05)
        family = psutil.Process(flow.pid).children(recursive=True)
        flow.send_signal(signal.SIGINT)
        out, error = flow.communicate()
    assert flow.returncode == 130 and "goes on" in out and "Traceback" not in error
    psutil.wait_procs(family, timeout=10)
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    changed = write_sweep(repo, parameters={"pretrain.learning_rate": [0.5]})
    refused = sweep(changed)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith(
        "error: the sweep rates was begun before, and its parameters changed"
    )
    (where / "wait").unlink()
    assert "rates-000" in states(sweep(changed, "--start-over"))


def test_on_dask_two_workers_do_the_same(repo: Path, where: Path) -> None:
    pytest.importorskip("prefect_dask")
    file = write_sweep(repo, runner="dask", parallel=2, parameters={"pretrain.learning_rate": [0.03, 0.01]})
    done = sweep(file, TINY_SLOW="2")
    assert done.returncode == 0, done.stderr
    assert list(states(done)) == ["rates-001", "rates-000"]
    assert counted(executed(where)) == {"tokenize": 1, "pretrain": 2}


def test_without_a_commit_there_is_no_experiment(repo: Path, where: Path) -> None:
    run(repo, "rm", "-rf", ".git")
    run(repo, "git", "init", "-q")
    refused = sweep(write_sweep(repo))
    assert refused.returncode == 1 and "must be a git repository with at least one" in refused.stderr.splitlines()[-1]
    assert not (where / "sweeps").exists()
