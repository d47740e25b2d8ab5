"""Scheduled for real: a server on the loopback, a process pool, a worker, a followed source, a cancellation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.params import dump_yaml, load_params, read_yaml
from tests.corpus.server import Hits, serving
from tests.tiny import CHANGES, make_workspace, write_own_data

STAGES = ["sample"]
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def web() -> Iterator[Hits]:
    """Serves the tiny workspace's table of messages."""
    with pytest.MonkeyPatch.context() as patch, serving() as hits:
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, "127.0.0.1,localhost")
        yield hits


@pytest.fixture(scope="module")
def workspace(web: Hits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny workspace that follows its messages at an address; only flows that are there are deployed."""
    folder = tmp_path_factory.mktemp("followed")
    write_own_data(folder / "own")
    web.body = (folder / "own" / "messages.tsv").read_bytes()
    source = {"name": "messages.tsv", "url": f"{web.url}/tagged", "sha256": None, "member": None}
    folder = make_workspace(folder / "workspace", {**CHANGES, "download.messages": [source]})
    file = read_yaml(folder / "prefect.yaml")
    file["deployments"] = [told for told in file["deployments"] if told["name"] in ("refresh", "train")]
    refresh = file["deployments"][0]
    refresh["parameters"] = {"stages": STAGES, "commit": True}
    refresh["schedules"] = [{"interval": 10, "active": True}]
    (folder / "prefect.yaml").write_text(dump_yaml(file))
    for command in (["add", "-A"], ["commit", "-qm", "What runs when"]):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *command], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def environment(workspace: Path, server: str, home: Path) -> dict[str, str]:
    foreign = ("PREFECT_", "SCRIPTORIUM_", "MLFLOW_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": f"{server}/api",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "SCRIPTORIUM_HOME": str(workspace / ".scriptorium"),
        "SCRIPTORIUM_SYNC": "0",
        "NO_PROXY": "127.0.0.1,localhost",
        "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@localhost",
        "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@localhost",
    }  # fmt: skip


@pytest.fixture(scope="module")
def client(server: str) -> Iterator[Any]:
    from prefect import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: f"{server}/api"}), get_client(sync_client=True) as client:
        yield client


def until(what: Callable[[], Any], worker: subprocess.Popen[bytes] | None = None) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if answer := what():
            return answer
        assert worker is None or worker.poll() is None, "the worker ended"
        time.sleep(0.2)
    raise TimeoutError("it did not happen")


def finished(client: Any, flow: str, after: float, wanted: str = "") -> Any:
    """A scheduled run of the flow that started after a moment and has ended with these words; none may have failed."""
    if not deployed(client, flow):
        return None
    deployment = client.read_deployment_by_name(f"{flow}/{flow}")
    ended = runs_of(deployment.id, "COMPLETED", "FAILED", "CRASHED", "CANCELLED")
    runs = client.read_flow_runs(flow_run_filter=ended)
    done = [run for run in runs if run.start_time and run.start_time.timestamp() > after]
    bad = [run.state.message for run in done if run.state.is_failed() or run.state.is_crashed()]
    assert not bad, bad
    return next((run for run in done if wanted in str(run.state.message)), None)


def runs_of(deployment: Any, *states: str) -> Any:
    """Prefect's filter for the deployment's runs in one of these states."""
    from prefect.client.schemas.filters import FlowRunFilter

    return FlowRunFilter.model_validate({"deployment_id": {"any_": [deployment]}, "state": {"type": {"any_": states}}})


def deployed(client: Any, flow: str) -> bool:
    return any(found.name == flow for found in client.read_deployments())


def at_work(workspace: Path) -> list[int]:
    """Processes whose current folder is the workspace."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(workspace):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def restart(server: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the server and start it anew, on the same port."""
    from flows import services

    with monkeypatch.context() as patch:
        for name, value in {"SCRIPTORIUM_HOME": home, "PREFECT_HOME": home / "prefect"}.items():
            patch.setenv(name, str(value))
        patch.setenv("PREFECT_PORT", server.rpartition(":")[2])
        patch.delenv("PREFECT_API_URL", raising=False)
        assert services.stop(services.PREFECT)
        assert services.start(services.PREFECT) == server


@pytest.mark.pipeline
def test_scheduled_changed_restarted_and_cancelled(
    workspace: Path,
    environment: dict[str, str],
    client: Any,
    web: Hits,
    home: Path,
    server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from prefect.states import Cancelling

    command = [sys.executable, "-m", "flows.refresh", "--stages", *STAGES]
    first = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    lock = json.loads((workspace / "sources.lock.json").read_text())
    assert list(lock) == ["messages/messages.tsv"]

    with (workspace.parent / "worker.log").open("wb") as out:
        worker = subprocess.Popen(
            [sys.executable, "-m", "flows.deploy", "worker"],
            cwd=workspace, env=environment, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        began, sent = time.time(), web.sent
        ended = until(lambda: finished(client, "refresh", began), worker)
        assert "nothing was executed" in ended.state.message and web.sent == sent

        changed = time.time()
        web.body, web.etag = web.body + b"ham\tone more about the cat\n", '"two"'
        ended = until(lambda: finished(client, "refresh", changed, "ran"), worker)
        assert ended.state.message == "2 ran, 1 cached", ended.state.message  # tokenize reads no messages
        assert json.loads((workspace / "sources.lock.json").read_text()) != lock
        last = subprocess.run(["git", "log", "-1", "--format=%s"], cwd=workspace, capture_output=True, text=True)
        assert last.stdout == "Data changed: messages/messages.tsv\n"
        until(lambda: events(server, "scriptorium.data.changed"))
        client.pause_deployment(client.read_deployment_by_name("refresh/refresh").id)

        train = client.read_deployment_by_name("train/train")
        wish = {"stages": ["pretrain"], "overrides": ["pretrain.epochs=50000", "pretrain.eval_interval=100000"]}
        run = client.create_flow_run_from_deployment(train.id, parameters=wish)
        until(lambda: list((workspace / ".scriptorium" / "checkpoints").rglob("step-*")), worker)
        assert load_params(workspace / "params.yaml").pretrain.epochs == 50_000
        restart(server, home, monkeypatch)
        assert client.read_flow_run(run.id).state.is_running() and worker.poll() is None
        assert len(at_work(workspace)) > 3, "worker, flow, supervisor, dvc, stage"
        client.set_flow_run_state(run.id, Cancelling(), force=True)
        until(lambda: client.read_flow_run(run.id).state.is_cancelled(), worker)
        until(lambda: at_work(workspace) == [worker.pid], worker)
        assert not (workspace / "models").exists()
    finally:
        worker.terminate()
        worker.wait(30)


def events(server: str, name: str) -> list[Any]:
    """The events of this name that the server has."""
    body = json.dumps({"filter": {"event": {"name": [name]}}}).encode()
    request = urllib.request.Request(f"{server}/api/events/filter", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        found: list[Any] = json.load(answer)["events"]
    return found
