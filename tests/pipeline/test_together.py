"""What the process that starts the others makes of what they leave; `tests/stages/test_together.py` has real ones."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pipeline import paths
from pipeline.params import dump_yaml, read_yaml
from pipeline.preset import override
from pipeline.receipt import TOGETHER, Receipt, read_receipt
from pipeline.stage import Stage, run

ROOT = Path(__file__).resolve().parents[2]
DVC_YAML = """
stages:
  toy:
    cmd: python toy.py
    params: [runtime]
    outs: [models/toy]
"""


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SCRIPTORIUM_HOME", "SCRIPTORIUM_TRACEBACK", "SCRIPTORIUM_PARENT", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCRIPTORIUM_SYNC", "0")
    monkeypatch.setenv("SCRIPTORIUM_RECEIPT", str(tmp_path / "receipt.json"))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    params = override(read_yaml(tmp_path / "params.yaml"), ["runtime.processes=2"])
    (tmp_path / "params.yaml").write_text(dump_yaml(params))
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)


def main(stage: Stage) -> None:
    stage.out("models/toy").mkdir()
    (stage.out("models/toy") / "weights").write_text("x")


def launching(ends: Mapping[int, int], *left: tuple[int, Receipt]) -> Callable[..., Mapping[int, int]]:
    """A launcher whose processes leave these receipts, one after the other, and end with these statuses."""

    def launch(command: list[str], processes: int, threads: int, grace_s: float) -> Mapping[int, int]:
        assert (command, processes, threads) == (["-m", "stages.toy"], 2, 2) and grace_s > 5
        for rank, receipt in left:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("RANK", str(rank))
                receipt.write()
            time.sleep(0.02)
        return ends

    return launch


def receipt() -> Receipt:
    found = read_receipt("receipt.json")
    assert found is not None
    return found


def test_the_first_process_s_receipt_is_the_stage_s() -> None:
    mine = Receipt("toy", "executed", key="k", metrics={"loss": 1.0})
    assert run("toy", main, launching({}, (1, Receipt("toy", "executed")), (0, mine))) == 0
    assert (receipt().status, receipt().key, receipt().metrics) == ("executed", "k", {"loss": 1.0})
    assert TOGETHER not in os.environ and not Path("models").exists()


def test_the_first_to_fail_is_told_and_what_followed_from_it_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    cause = Receipt("toy", "failed", "transient", "no answer from the store")
    follows = Receipt("toy", "failed", "bug", "RuntimeError: connection closed by peer")
    assert run("toy", main, launching({0: 1, 1: 1}, (1, cause), (0, follows))) == 1
    assert capsys.readouterr().err == "toy: no answer from the store\n"
    assert (receipt().status, receipt().kind, receipt().message) == ("failed", "transient", cause.message)


def test_one_that_was_killed_left_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    follows = Receipt("toy", "failed", "bug", "RuntimeError: connection closed by peer")
    assert run("toy", main, launching({1: -signal.SIGKILL, 0: 1}, (0, follows))) == 1
    assert capsys.readouterr().err == "toy: process 2 of the 2 that train together was killed by SIGKILL\n"
    assert receipt().status == "failed"
    assert run("toy", main, launching({1: 3, 0: -signal.SIGTERM})) == 1
    assert capsys.readouterr().err == "toy: process 2 of the 2 that train together ended with status 3\n"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_asked_to_stop_it_says_so(number: int, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    def launch(*given: object) -> Mapping[int, int]:
        raise KeyboardInterrupt(int(number))

    assert run("toy", main, launch) == status
    assert capsys.readouterr().err == "toy: stopped\n"
    assert receipt().status == "stopped"


def test_a_finished_result_that_waits_is_taken_without_starting_anyone(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*given: object) -> Mapping[int, int]:
        raise AssertionError("there is nothing to start")

    monkeypatch.setenv("RANK", "0")
    assert run("toy", main, nobody) == 0  # as one of those that were started
    monkeypatch.delenv("RANK")
    shutil.rmtree("models")
    assert run("toy", main, nobody) == 0
    assert Path("models/toy/weights").read_text() == "x" and paths.kept("toy").exists()


def test_a_stage_that_no_launcher_is_given_for_runs_alone() -> None:
    assert run("toy", main) == 0
    assert Path("models/toy/weights").is_file()


def visible() -> set[str]:
    return {path.name for path in Path().iterdir() if not path.name.startswith(".")}


def test_only_the_first_of_a_torchrun_publishes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = visible()
    monkeypatch.setenv("RANK", "1")
    assert run("toy", main) == 0
    assert visible() == before
    assert not paths.journal().exists()
    monkeypatch.setenv("RANK", "0")
    assert run("toy", main) == 0
    assert visible() == before | {"models", "receipt.json"}
    assert Path("models/toy/weights").is_file() and paths.journal().exists()
