"""What a flow's command says of its tasks, beside what Prefect would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.tiny import ROOT

PROGRAM = """
from flows.session import prefect_server
from prefect import flow, task
from prefect.states import Failed

@task
def consider():
    return Failed(message="too small")

@flow
def promote():
    return Failed(message=consider(return_state=True).message)

with prefect_server():
    print(promote(return_state=True).message)
"""


def test_a_failed_task_is_told_once_and_without_the_traceback_of_no_exception(at_home: Path, server: str) -> None:
    settings = {**os.environ, "PREFECT_API_URL": f"{server}/api", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=settings, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "too small\n", done.stderr
    assert "NoneType: None" not in done.stderr
    assert sum("too small" in line for line in done.stderr.splitlines() if "Task run" in line) == 1, done.stderr
