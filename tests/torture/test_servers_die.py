"""MLflow's server dies in the middle of a training, Prefect's in the middle of a flow: both end well, and all is told.

python -m pytest tests/torture/test_servers_die.py -m torture
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from flows import services
from flows.services import MLFLOW, PREFECT, Service
from pipeline import journal
from tests.tasks.tiny_repo import make_templates
from tests.tiny import environment_of, run
from tests.torture.lives import assert_same, copy_of, points, said_by, start

pytestmark = pytest.mark.torture
MAIN = "import sys; from flows.train import main; sys.exit(main(sys.argv[1:], check=lambda: None))"
SLOW = "import pathlib, sys, time; time.sleep(4); pathlib.Path(sys.argv[1]).write_text('made')"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Servers are started and found from this process as a flow would."""
    place = tmp_path / "workspace" / ".scriptorium"
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(place))
    monkeypatch.setenv("PREFECT_HOME", str(place / "prefect"))
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "PREFECT_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_PORT", str(services._any_free_port()))
    return place


def kill(service: Service) -> None:
    """SIGKILL to the server and what it started, be it too busy to answer or not."""
    found = services._remembered(service)
    process = found.process() if found is not None else None
    assert process is not None
    for each in [*process.children(recursive=True), process]:
        each.kill()
    process.wait()


def test_the_tracking_server(
    undisturbed: Path, tmp_path: Path, home: Path, figures: Callable[[str, object], None]
) -> None:
    """Not there at the start; there; dead in the middle; back, where `make sync` sends the rest."""
    folder = copy_of(undisturbed, tmp_path / "workspace", "pretrain", "lora", "classify", "instruct", "evaluate")
    uri = f"http://127.0.0.1:{services.port_of(MLFLOW)}"
    there = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_HTTP_REQUEST_TIMEOUT": "2"}
    run(folder, "dvc", "repro", "--single-item", "pretrain", **there)  # no server yet
    assert len(journal.unsent()) == 1
    try:
        services.start(MLFLOW)
        lora = start(folder, "dvc", "repro", "--single-item", "lora", **there)
        while not any(key.startswith("lora-") and journal.sent(key).run_id for key in journal.known()):
            assert lora.poll() is None, said_by(folder)
            time.sleep(0.02)
        kill(MLFLOW)  # it knows of the run, and little else
        assert lora.wait(timeout=300) == 0, said_by(folder)
        run(folder, "dvc", "repro", "--single-item", "classify", **there)  # dead
        assert any(key.startswith("classify-") for key in journal.unsent())
        services.start(MLFLOW)
        run(folder, "python", "-m", "pipeline.sync", **there)
        assert journal.known() == []
    finally:
        services.stop(MLFLOW)
    assert_same(folder, undisturbed, "pretrain", "lora", "classify")
    told, expected = points(home), points(undisturbed / ".scriptorium")
    assert told == {stage: expected[stage] for stage in ("pretrain", "lora", "classify")}
    figures("tracking server", "absent, killed in the middle, dead: every step told once")


def test_prefects_server(tmp_path: Path, home: Path, figures: Callable[[str, object], None]) -> None:
    """Killed while stages run, it is started again on its database, and the flow ends as if nothing had been."""
    repo = make_templates(tmp_path / "templates") / "fresh"
    (repo / "work.py").write_text(SLOW)
    environment = environment_of(tmp_path, SCRIPTORIUM_HOME=str(home), SCRIPTORIUM_SYNC="0", PYTHONPATH=str(ROOT))
    try:
        services.start(PREFECT)
        flow = subprocess.Popen(
            [sys.executable, "-P", "-c", MAIN],
            cwd=repo,
            env=environment,
            stdout=-1,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while not (repo / "root.txt").exists():  # its siblings are about to start
            assert flow.poll() is None
            time.sleep(0.1)
        kill(PREFECT)
        said, _ = flow.communicate(timeout=300)
        assert flow.returncode == 0, said
        assert "Prefect's server has died: starting it again" in said
        assert (repo / "join.txt").read_text() == "made"
        with closing(sqlite3.connect(home / "prefect" / "prefect.db")) as database:
            assert database.execute("select name, state_type from flow_run").fetchall()[0][1] == "COMPLETED"
            tasks = database.execute("select name, state_type from task_run").fetchall()
        assert {"root", "left", "right", "join"} <= {name for name, _ in tasks}
    finally:
        services.stop(PREFECT)
    figures("Prefect's server", "killed during a flow, which ended well")
