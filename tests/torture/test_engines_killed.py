"""SIGKILL to dvc and to the flow at random moments: run again, and it is as if nothing had been.

python -m pytest tests/torture/test_engines_killed.py -m torture
"""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pipeline import journal
from tests.tiny import run
from tests.torture.lives import (
    TRAININGS,
    assert_same,
    assert_told_once,
    copy_of,
    family_of,
    kill,
    said_by,
    seconds_until_gone,
    start,
)

pytestmark = pytest.mark.torture
KILLS = 20
WRITTEN_IN_PIECES = ("dvc.lock", "RWLock-file")  # by DVC; killed within, it needs the doctor (the flow calls it itself)
STAGES = (*TRAININGS, "evaluate")
DVC = ("python", "-m", "dvc", "repro")
FLOW = ("python", "-m", "flows.train", "--parallel", "2")


def test_dvc_is_killed(undisturbed: Path, tmp_path: Path, figures: Callable[[str, object], None]) -> None:
    """A quarter of the kills comes when a stage has just said its last word and DVC has not committed it yet."""
    draw, killed, rounds, doctored = random.Random(2), 0, 0, 0
    while killed < KILLS:
        rounds += 1
        folder = copy_of(undisturbed, tmp_path / f"round-{rounds}", *STAGES)
        while True:
            dvc = start(folder, *DVC, SCRIPTORIUM_SYNC="0")
            if killed < KILLS:
                wait_for_a_moment(folder, dvc, draw)
                killed += kill(dvc)
            if dvc.wait(timeout=300) == -9:
                continue
            if dvc.returncode and any(file in said_by(folder) for file in WRITTEN_IN_PIECES):
                run(folder, "python", "-m", "flows.doctor", check=False)
                doctored += 1
                continue
            assert dvc.returncode == 0, said_by(folder)
            break
        check(folder, undisturbed)
    figures("kills of dvc survived", f"{killed} in {rounds} runs; {doctored} times dvc needed make doctor")


def wait_for_a_moment(folder: Path, dvc: subprocess.Popen[str], draw: random.Random) -> None:
    deadline = time.monotonic() + draw.uniform(0.3, 7.0)
    ended = len(finished(folder)) if draw.random() < 0.25 else None
    while dvc.poll() is None and time.monotonic() < deadline:
        if ended is not None and len(finished(folder)) > ended:
            time.sleep(draw.uniform(0.0, 0.2))
            return
        time.sleep(0.01)


def finished(folder: Path) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRIPTORIUM_HOME", str(folder / ".scriptorium"))
        return [key for key in journal.known() if journal.finished(key)]


def test_the_flow_is_killed(undisturbed: Path, tmp_path: Path, figures: Callable[[str, object], None]) -> None:
    """With parallel branches and MLflow; what the flow started is gone soon, and the next flow needs no help."""
    draw, killed, rounds, longest = random.Random(3), 0, 0, 0.0
    while killed < KILLS:
        rounds += 1
        folder = copy_of(undisturbed, tmp_path / f"round-{rounds}", *STAGES)
        try:
            run(folder, "python", "-m", "flows.services", "start")
            while True:
                flow = start(folder, *FLOW)
                if killed < KILLS:
                    began, moment = time.monotonic(), draw.uniform(0.5, 10.0)
                    family: list[psutil.Process] = []
                    while flow.poll() is None and time.monotonic() - began < moment:
                        family = family_of(flow) or family
                        time.sleep(0.05)
                    family = family_of(flow) or family
                    killed += kill(flow)
                    longest = max(longest, seconds_until_gone(family))
                if flow.wait(timeout=300) == -9:
                    continue
                assert flow.returncode == 0, said_by(folder)
                break
        finally:
            run(folder, "python", "-m", "flows.services", "stop", check=False)
        check(folder, undisturbed)
    figures("kills of the flow survived", f"{killed} in {rounds} runs")
    figures("seconds until all of a killed flow was gone", f"at most {longest:.1f}")


def check(folder: Path, undisturbed: Path) -> None:
    assert (folder / "dvc.lock").read_text() == (undisturbed / "dvc.lock").read_text()
    assert_same(folder, undisturbed, *STAGES)
    assert_told_once(folder, undisturbed, *STAGES)
    doctor = run(folder, "python", "-m", "flows.doctor", check=False).stdout
    needs_you = [line for line in doctor.splitlines() if line.startswith("you ") and " packages " not in line]
    assert not needs_you, doctor
