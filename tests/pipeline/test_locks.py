"""Locks between processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.locks import hold

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys
from pipeline.locks import hold
with hold("stage"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> subprocess.Popen[str]:
    """Another process that holds the lock until its standard input closes."""
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        cwd=ROOT, env=os.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_holder_is_named_and_a_killed_one_holds_nothing(held: subprocess.Popen[str]) -> None:
    with pytest.raises(TimeoutError, match=f"stage is in use by process {held.pid} "), hold("stage", timeout_s=0):
        raise AssertionError
    with hold("another", timeout_s=0):
        pass
    held.kill()
    held.communicate()
    with hold("stage", timeout_s=0):
        pass


def test_one_waits_until_it_is_free(held: subprocess.Popen[str]) -> None:
    told = []

    def waiting(holder: str) -> None:
        told.append(holder)
        held.communicate()  # closes its input: it lets go

    with hold("stage", waiting=waiting), pytest.raises(TimeoutError), hold("stage", timeout_s=0):
        raise AssertionError
    assert len(told) == 1
    assert f"process {held.pid} on " in told[0]
