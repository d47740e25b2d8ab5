"""One flow at a time in a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.workspace import workspace
from pipeline import paths
from pipeline.locks import hold


def test_a_workspace_at_work_is_refused_in_one_sentence(done: Path) -> None:
    with workspace() as root:
        assert root == done
        taken = r"another flow is at work in repo/ \(process \d+ on .*\): wait for it"
        with pytest.raises(ValueError, match=taken), workspace(str(done)):
            pass
    with workspace(idle=True):
        pass


def test_a_stage_that_no_flow_started_forbids_a_refresh_only(done: Path) -> None:
    with hold("stage-left", place=paths.staging("left").parent):
        with pytest.raises(ValueError, match="the stage left is at work in repo/"), workspace(idle=True):
            pass
        with workspace():
            pass


def test_another_folder_must_be_a_workspace(done: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"elsewhere is no workspace: it has no dvc\.yaml"), workspace("elsewhere"):
        pass


def test_flows_say_so_instead_of_working(done: Path, server: str) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.refresh import refresh
    from flows.train import train

    with temporary_settings({PREFECT_API_URL: f"{server}/api"}), workspace():
        states: list[Any] = [train(return_state=True), refresh(return_state=True)]
    for state in states:
        assert state.is_failed() and state.message.startswith("another flow is at work in repo/")


def test_limits_and_retries_name_stages(done: Path, server: str) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.train import train

    with temporary_settings({PREFECT_API_URL: f"{server}/api"}):
        wrong: Any = train(time_limits_s={"lefft": 3.0}, return_state=True)
        (done / "work.py").write_text("import time; time.sleep(600)")
        slow: Any = train(["root"], time_limit_s=500.0, time_limits_s={"root": 1.5}, return_state=True)
    assert wrong.is_failed() and "no stage 'lefft'" in wrong.message
    assert slow.is_failed() and "not finished within its time limit of 1.5 s" in slow.message
