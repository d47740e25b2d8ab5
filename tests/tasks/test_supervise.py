"""Nothing outlives the lifeline."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import tasks.supervise
from tasks.supervise import CUT

# A parent with two children, one in a session of its own, one deaf to requests to end, that says who they are.
FAMILY = """
import os, signal, subprocess, sys, time
sleep = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]
deaf = [sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); " + sleep[2]]
children = [subprocess.Popen(sleep, start_new_session=True, stdout=-1), subprocess.Popen(deaf, stdout=-1)]
for child in children:
    child.stdout.readline()
print(os.getpid(), *(child.pid for child in children), flush=True)
time.sleep(600)
"""


def supervised(*command: str, grace_s: float = 20.0) -> subprocess.Popen[str]:
    program = [sys.executable, "-P", tasks.supervise.__file__, "--grace", str(grace_s), "--", *command]
    return subprocess.Popen(program, stdin=-1, stdout=-1, stderr=-1, text=True, start_new_session=True)


@pytest.mark.parametrize(("code", "status"), [("pass", 0), ("raise SystemExit(7)", 7)])
def test_the_exit_status_is_the_commands(code: str, status: int) -> None:
    with supervised(sys.executable, "-c", f"print('hello'); {code}") as process:
        assert process.stdout is not None and process.stdout.read() == "hello\n"
        assert process.wait() == status


def test_closing_the_lifeline_ends_the_whole_family(tmp_path: Path) -> None:
    with supervised(sys.executable, "-c", FAMILY, grace_s=0.3) as process:
        assert process.stdout is not None and process.stdin is not None
        family = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        assert len(family) == 3
        process.stdin.close()
        assert process.wait() == CUT
    assert not any(member.is_running() for member in family)


def test_a_command_may_use_its_grace_to_save(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    code = f"""
import pathlib, signal, sys, time
def save(*_):
    time.sleep(0.5)
    pathlib.Path({str(saved)!r}).write_text("whole")
    sys.exit(1)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(600)
"""
    with supervised(sys.executable, "-c", code) as process:
        assert process.stdout is not None and process.stdin is not None
        process.stdout.readline()
        process.stdin.close()
        assert process.wait() == CUT
    assert saved.read_text() == "whole"


def test_requests_to_end_are_left_to_the_lifeline() -> None:
    with supervised(sys.executable, "-c", "print('ready', flush=True); import time; time.sleep(1)") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait() == 0


LAUNCHER = """
import subprocess, sys
sys.exit(subprocess.call([sys.executable, "-c", sys.argv[1]]))
"""
COUNTING = """
import ctypes, pathlib, signal, sys, time
signals = []
signal.signal(signal.SIGTERM, lambda *_: signals.append(1))
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # as the stages do: SIGTERM when the parent dies
print("ready", flush=True)
while not signals:
    time.sleep(0.05)
time.sleep(0.5)
pathlib.Path({file!r}).write_text(str(len(signals)))
"""


def test_a_stage_that_saves_is_asked_once(tmp_path: Path) -> None:
    """Ending the launcher (dvc) first would send the stage a second signal, which means "at once"."""
    file = tmp_path / "count"
    with supervised(sys.executable, "-c", LAUNCHER, COUNTING.format(file=str(file))) as process:
        assert process.stdout is not None and process.stdin is not None
        process.stdout.readline()
        process.stdin.close()
        assert process.wait() == CUT
    assert file.read_text() == "1"
