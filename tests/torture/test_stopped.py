"""Asked to end (Ctrl-C, SIGTERM, Prefect's cancel, a time limit), a training saves, and nothing of it is left.

python -m pytest tests/torture/test_stopped.py -m torture
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from gpt.checkpoint import checkpoints_in, load_checkpoint
from pipeline import journal
from tests.tiny import run
from tests.torture.lives import copy_of, family_of, said_by, seconds_until_gone, start

pytestmark = pytest.mark.torture
LONG = {"  epochs: 2\n": "  epochs: 2000\n", "  checkpoint_interval: 4\n": "  checkpoint_interval: 1000000\n"}
FLOW = ("python", "-m", "flows.train", "--stages", "pretrain")
DVC = ("python", "-m", "dvc", "repro", "pretrain")
STAGE = ("python", "-m", "stages.pretrain")
WAYS = (
    "flow SIGTERM", "flow SIGINT", "flow cancel", "flow time limit",
    "dvc group SIGINT", "stage SIGTERM", "stage SIGINT",
)  # fmt: skip


@pytest.fixture(scope="module")
def endless(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose pre-training would take hours, and writes no checkpoint unless it is asked to end."""
    folder = copy_of(undisturbed, tmp_path_factory.mktemp("endless") / "workspace", "pretrain")
    text = (folder / "params.yaml").read_text()
    before, pretrain = text.split("\npretrain:\n", 1)
    for old, new in LONG.items():
        assert old in pretrain
        pretrain = pretrain.replace(old, new, 1)
    (folder / "params.yaml").write_text(f"{before}\npretrain:\n{pretrain}")
    return folder


@pytest.fixture(autouse=True)
def home(endless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(endless / ".scriptorium"))


def test_a_checkpoint_is_written_and_nothing_is_left(endless: Path, figures: Callable[[str, object], None]) -> None:
    """One way after the other, each going on where the one before was stopped, in one and the same MLflow run."""
    longest, before = 0.0, 0
    run(endless, "python", "-m", "flows.services", "start")
    try:
        for way in WAYS:
            kind = way.split()[0]
            limit = ("--time-limit", "10") if way == "flow time limit" else ()
            process = start(endless, *{"flow": (*FLOW, *limit), "dvc": DVC, "stage": STAGE}[kind], SCRIPTORIUM_SYNC="0")
            wait_until_it_trains(endless, process, before)
            family = family_of(process)
            began = time.monotonic()
            end(process, way, endless)
            status = process.wait(timeout=60)
            longest = max(longest, time.monotonic() - began if "limit" not in way else 0.0, seconds_until_gone(family))
            assert status != 0
            (key,) = [key for key in journal.known() if key.startswith("pretrain-")]
            assert journal.last(key)["status"] == journal.KILLED, (way, said_by(endless))
            steps = [
                event["step"]
                for event, _ in journal.events(key)
                if event["type"] == "metrics" and "loss" in event["values"]
            ]
            assert steps == list(range(1, len(steps) + 1)), way
            assert len(steps) > before, way
            newest = load_checkpoint(newest_of(endless)).step
            assert newest == len(steps), f"{way}: checkpoint of step {newest}, {len(steps)} steps were made"
            before = len(steps)
            assert not list((endless / ".scriptorium" / "locks").glob("pretrain-*")), way
            looked = run(endless, "python", "-m", "flows.doctor", "--look", check=False).stdout
            assert "none was left behind" in looked, (way, looked)
    finally:
        run(endless, "python", "-m", "flows.services", "stop", check=False)
    run(endless, "python", "-m", "pipeline.sync")
    with closing(sqlite3.connect(endless / ".scriptorium" / "mlflow.db")) as store:
        query = (
            "select r.status, r.run_uuid from runs r join tags t on t.run_uuid = r.run_uuid where t.key = 'dvc.stage'"
        )
        ((state, run_id),) = store.execute(query).fetchall()
        told = store.execute("select step from metrics where key = 'loss' and run_uuid = ? order by step", (run_id,))
        assert (state, [step for (step,) in told]) == ("KILLED", list(range(1, before + 1)))
    figures("ways to ask for an end", f"{len(WAYS)}: all saved, all gone after at most {longest:.1f} s")


def newest_of(folder: Path) -> Path:
    (place,) = (folder / ".scriptorium" / "checkpoints" / "pretrain").glob("*/*/*")
    return checkpoints_in(place)[-1]


def wait_until_it_trains(folder: Path, process: subprocess.Popen[str], before: int) -> None:
    """Until some steps have been made that were not before."""
    while True:
        assert process.poll() is None, said_by(folder)
        for key in journal.known():
            if key.startswith("pretrain-") and journal.last(key).get("step", 0) > before + 5:
                return
        time.sleep(0.05)


def end(process: subprocess.Popen[str], way: str, folder: Path) -> None:
    if way.endswith("SIGTERM"):
        process.terminate()
    elif way == "dvc group SIGINT":  # Ctrl-C on a terminal reaches dvc and the stage
        os.killpg(process.pid, signal.SIGINT)
    elif way.endswith("SIGINT"):
        process.send_signal(signal.SIGINT)
    elif way.endswith("cancel"):
        flows = folder / ".scriptorium" / "flows"
        newest = max(flows.iterdir(), key=lambda each: each.stat().st_mtime).name
        code = (
            "import sys, uuid; from flows import services; services.configure()\n"
            "from prefect import get_client; from prefect.states import Cancelling\n"
            "from prefect.settings import PREFECT_API_URL, temporary_settings\n"
            "api = {PREFECT_API_URL: services.prefect_api()}\n"
            "with temporary_settings(api), get_client(sync_client=True) as client:\n"
            "    client.set_flow_run_state(uuid.UUID(sys.argv[1]), Cancelling(), force=True)\n"
        )
        run(folder, "python", "-c", code, str(UUID(newest)))
