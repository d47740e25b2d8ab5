"""The record of runs, seen from stages and flow: with a tracking server, with a bad one, with none."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from pipeline import journal, ledger, paths, sync, tracking
from pipeline.journal import Journal
from pipeline.store import Store, store
from pipeline.tracking import Follower, find_run, finish_parent, start_parent

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SCRIPTORIUM_SYNC", raising=False)
    monkeypatch.setattr(tracking, "_down_until", 0.0)


class Failing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.send_error(500)

    do_GET = do_POST

    def log_message(self, *arguments: object) -> None:
        return


@pytest.fixture(params=["dead", "failing", "hanging"])
def bad_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address where nobody listens; a server that answers 500; one that takes a call and never answers."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    failing = ThreadingHTTPServer(("127.0.0.1", 0), Failing)
    threading.Thread(target=failing.serve_forever, daemon=True).start()
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        if request.param == "hanging":
            bound.listen()
        port = failing.server_port if request.param == "failing" else bound.getsockname()[1]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        yield request.param
    failing.shutdown()
    failing.server_close()


def test_a_bad_server_costs_a_run_nothing_and_no_event(bad_server: str, capfd: pytest.CaptureFixture[str]) -> None:
    run = Journal("run")
    run.write("start", name="pretrain", parent=None, params={}, tags={"dvc.stage": "pretrain"})
    follower = Follower("run")
    run.metrics({"loss": 1.0}, 0)
    run.end(journal.FINISHED)
    follower.finish()
    assert follower.process is not None
    assert follower.process.returncode == 0
    assert journal.unsent() == ["run"]
    assert [event["type"] for event, _ in journal.events("run")] == ["start", "metrics", "end"]
    assert find_run("pretrain", "i", "o") is None
    assert find_run("lora", "i", "o") is None  # not asked a second time
    told = capfd.readouterr()
    assert told.err == ""
    assert told.out.count("does not answer") == 1
    assert "run: MlflowException" in (paths.logs() / "sync.log").read_text()


def test_the_ledger_needs_no_server(bad_server: str) -> None:
    ledger.append({"stage": "lora", "inputs": "i", "outputs": "o", "key": "k", "run_id": "r"})
    assert find_run("lora", "i", "o") == "r"


def test_without_a_database_none_is_made_for_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert find_run("lora", "i", "o") is None
    assert not paths.mlflow_db().exists()


@pytest.fixture
def server(database: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    return store(database)


def test_a_flow_has_a_parent_run_with_links(server: Store, capfd: pytest.CaptureFixture[str]) -> None:
    parent = start_parent("train", {"parallel": 2})
    child = Journal("pretrain-x")
    tags = {"dvc.stage": "pretrain", "dvc.inputs": "i1", "dvc.outputs": "o1"}
    child.write("start", name="pretrain", parent=parent.key, params={}, tags=tags)
    follower = Follower(child.key)
    child.end(journal.FINISHED)
    follower.finish(60)
    run_id = sync.run_id_of("pretrain-x")
    assert run_id is not None
    rows = [
        {"stage": "pretrain", "what": "ran", "key": "pretrain-x"},
        {"stage": "lora", "what": "cached", "run_id": "f" * 32},
        {"stage": "evaluate", "what": "a | b", "key": "unknown"},
    ]
    parent_run = finish_parent(parent, rows, text="Eight chapters.", metrics={"seconds": 4.5}, wait_s=60)
    assert parent_run is not None
    assert server.client.get_run(run_id).data.tags["mlflow.parentRunId"] == parent_run
    found = server.client.get_run(parent_run)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"parallel": "2"}
    assert found.data.metrics == {"seconds": 4.5}
    place = f"#/experiments/{server.experiment_id}/runs"
    assert found.data.tags["mlflow.note.content"].splitlines() == [
        "Eight chapters.", "", "| stage | what | run |", "| --- | --- | --- |",
        f"| pretrain | ran | [{run_id[:8]}]({place}/{run_id}) |",
        f"| lora | cached | [ffffffff]({place}/{'f' * 32}) |",
        "| evaluate | a \\| b |  |",
    ]  # fmt: skip
    assert [entry.path for entry in server.client.list_artifacts(parent_run)] == ["summary.md"]
    paths.ledger_file().unlink()
    assert find_run("pretrain", "i1", "o1") == run_id
    assert find_run("pretrain", "i2", "o1") == run_id  # taken as it was, after an edit of comments
    assert find_run("pretrain", "i1", "o2") is None
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "")


def test_a_summary_links_to_a_stage_whose_run_is_yet_to_be_made(server: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flow that ends before its follower has started: its journal may be the first that is sent."""
    monkeypatch.setenv("SCRIPTORIUM_SYNC", "0")
    parent = start_parent("train")
    child = Journal("quick-1")
    child.write("start", name="evaluate", parent=parent.key, params={}, tags={"dvc.stage": "evaluate"})
    child.end(journal.FINISHED)
    rows = [{"stage": "evaluate", "what happened": "ran", "metric": "", "run_id": None, "key": child.key}]
    assert finish_parent(parent, rows, wait_s=0) is None
    parent_run = sync.send(parent.key)
    assert parent_run is not None
    run_id = sync.send(child.key)
    lines = server.client.get_run(parent_run).data.tags["mlflow.note.content"].splitlines()
    assert lines[0] == "| stage | what happened | metric | run |" and f"/runs/{run_id})" in lines[2]
    assert server.client.get_run(str(run_id)).data.tags["mlflow.parentRunId"] == parent_run
    assert journal.unsent() == [] and ledger.newest(key=child.key)["run_id"] == run_id


def test_a_run_that_dies_without_a_word_is_marked_killed(server: Store) -> None:
    """And its follower, which needs a while, is not waited for longer than asked: it ends by itself."""
    run = Journal("victim")
    run.write("start", name="pretrain", parent=None, params={}, tags={})
    follower = Follower("victim")
    follower.finish(wait_s=0)
    assert follower.process is not None
    assert follower.process.returncode is None
    assert follower.process.wait(60) == 0
    run_id = sync.run_id_of("victim")
    assert run_id is not None
    assert server.client.get_run(run_id).info.status == "KILLED"


FLOW = """
import sys, time
from pipeline.tracking import start_parent
parent = start_parent("train")
print(parent.key, parent.follower.process.pid, flush=True)
time.sleep(600)
"""
DIES = """
import os, sys
from pipeline.journal import Journal
from pipeline.tracking import Follower
run = Journal(sys.argv[1])
run.write("start", name="classify", parent=sys.argv[2], params={}, tags={})
follower = Follower(run.key, parent=sys.argv[2])
run.metrics({"loss": 1.0}, 0)
assert follower.process is None
os.kill(os.getpid(), 9)
"""


def child_of(parent: str, key: str) -> tuple[Journal, Follower]:
    run = Journal(key)
    run.write("start", name="lora", parent=parent, params={}, tags={})
    return run, Follower(key, parent=parent)


def status_of(server: Store, key: str) -> tuple[str, str | None]:
    """The status of a journal's one run, and its parent's run."""
    runs = server.client.search_runs([server.experiment_id], f"tags.`scriptorium.key` = '{key}'")
    assert len(runs) == 1
    return runs[0].info.status, runs[0].data.tags.get("mlflow.parentRunId")


def test_a_flow_s_follower_sends_its_stages_journals(server: Store) -> None:
    """One that ends well, and one that is killed: none starts a follower or waits; both are sent when the flow ends."""
    parent = start_parent("train")
    run, follower = child_of(parent.key, "lora-x")
    for step in range(3):
        run.metrics({"loss": 1.0}, step)
    run.end(journal.FINISHED)
    follower.finish()
    assert follower.process is None
    killed = subprocess.run([sys.executable, "-c", DIES, "classify-x", parent.key], cwd=ROOT)
    assert killed.returncode == -9
    parent_run = finish_parent(parent, [{"stage": "lora", "key": "lora-x"}], wait_s=60)
    assert parent_run is not None
    assert status_of(server, "lora-x") == ("FINISHED", parent_run)
    assert status_of(server, "classify-x") == ("KILLED", parent_run)
    run_id = sync.run_id_of("lora-x")
    assert run_id is not None
    assert [point.step for point in server.client.get_metric_history(run_id, "loss")] == [0, 1, 2]
    assert f"[{run_id[:8]}]" in server.client.get_run(parent_run).data.tags["mlflow.note.content"]
    assert sorted(folder.name for folder in paths.journal().iterdir()) == ["classify-x"]  # to be continued


def test_a_killed_flow_s_follower_stays_until_its_stages_have_ended(server: Store) -> None:
    with subprocess.Popen([sys.executable, "-c", FLOW], cwd=ROOT, stdout=subprocess.PIPE, text=True) as flow:
        assert flow.stdout is not None
        key, pid = flow.stdout.readline().split()
        process = psutil.Process(int(pid))
        run, follower = child_of(key, "lora-y")
        assert follower.process is None
        flow.kill()
    run.metrics({"loss": 1.0}, 0)
    with pytest.raises(psutil.TimeoutExpired):
        process.wait(sync.EVERY_S + 1)
    run.end(journal.KILLED)
    follower.finish()
    process.wait(60)
    assert (status_of(server, "lora-y")[0], status_of(server, key)[0]) == ("KILLED", "KILLED")
    run_id = sync.run_id_of("lora-y")
    assert run_id is not None
    assert len(server.client.get_metric_history(run_id, "loss")) == 1


def test_without_the_flow_s_follower_a_stage_has_its_own(server: Store) -> None:
    """From its beginning, or, where it was killed in between, at its end."""
    parent = start_parent("train")
    run, follower = child_of(parent.key, "lora-z")
    assert follower.process is None and parent.follower.process is not None
    parent.follower.process.kill()
    parent.follower.process.wait()
    late, own = child_of(parent.key, "classify-z")
    assert own.process is not None
    for begun, beside in ((run, follower), (late, own)):
        begun.end(journal.FINISHED)
        beside.finish(60)
        assert beside.process is not None and beside.process.returncode == 0
    parent_run = finish_parent(parent, wait_s=60)
    assert parent_run is not None  # its children saw to it
    assert status_of(server, "lora-z") == status_of(server, "classify-z") == ("FINISHED", parent_run)


def test_the_code_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    without = tracking.code_tags("stages.pretrain")
    assert without["version.torch"].startswith("2.")
    assert "mlflow.source.git.commit" not in without
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "one"]):
        (tmp_path / "file").write_text("one")
        subprocess.run([*git, *command], check=True)
    clean = tracking.code_tags("stages.pretrain")
    assert len(clean["mlflow.source.git.commit"]) == 40
    assert clean["git.dirty"] == "false"
    (tmp_path / "file").write_text("two")
    assert tracking.code_tags("stages.pretrain")["git.dirty"] == "true"
    monkeypatch.setenv("PATH", "")
    assert tracking.code_tags("stages.pretrain") == without
