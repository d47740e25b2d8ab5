"""Runs a command and makes sure that nothing of it outlives the flow, however the flow ends.

    python tasks/supervise.py --grace 8 -- dvc --wait-for-lock repro --single-item pretrain

It is started in a session of its own with a pipe as standard input: the lifeline. The flow never writes to it. When it
closes, because the flow closed it (cancelled, time limit) or because the flow is gone (`kill -9`), everything below is
asked to end (SIGTERM, so that a training can write its checkpoint) and killed when the grace period is over.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import psutil

CUT = 143  # the exit status when the lifeline closed: 128 + SIGTERM
PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.1  # Popen.wait with a time limit would look eight times as often
STRAYS_S = 1.5
SHELLS = {"sh", "dash", "bash", "zsh", "ksh", "fish"}


def supervise(command: list[str], grace_s: float) -> int:
    """Run the command until it ends or standard input closes; its exit status, negative for a signal."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # a handler, unlike SIG_IGN, is not inherited by the command
    _adopt_orphans()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    cut = threading.Event()
    threading.Thread(target=_watch, args=(cut,), daemon=True).start()
    while not cut.wait(POLL_S):
        if (status := process.poll()) is not None:
            if status < 0:  # somebody killed it, and what it was running is not done
                end_all(process.pid, grace_s)
            return status
    end_all(process.pid, grace_s)
    return CUT


def end_all(command: int, grace_s: float) -> None:
    """Ask our descendants to end, each once, and kill those that live on when the grace period is over.

    Not asked are the command itself (`dvc`) and shells while something runs below them: they end with it. Ended before
    it, they would turn its parent-death signal into a second request, which means "at once". Nor are processes in
    sessions of their own, like the stage's follower that sends its record: they get a few seconds to end by themselves.
    """
    asked: set[psutil.Process] = set()
    deadline = time.monotonic() + grace_s
    while (alive := _alive()) and time.monotonic() < deadline:
        ours = [process for process in alive if _in_our_session(process)]
        if not ours:
            deadline = min(deadline, time.monotonic() + STRAYS_S)
        for process in ours:
            if process not in asked and not _only_waits(process, command):
                asked.add(process)
                _signal(process, signal.SIGTERM)
        time.sleep(0.05)
    while alive := _alive():
        for process in alive:
            _signal(process, signal.SIGKILL)
        time.sleep(0.05)


def _adopt_orphans() -> None:
    """What a dying `dvc` leaves behind becomes our child, so that none escapes (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _watch(cut: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    cut.set()


def _alive() -> list[psutil.Process]:
    """Our living descendants. The dead are buried first: zombies would count as alive."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return [process for process in psutil.Process().children(recursive=True) if _lives(process)]


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _in_our_session(process: psutil.Process) -> bool:
    try:
        return os.getsid(process.pid) == os.getsid(0)
    except ProcessLookupError:
        return False


def _only_waits(process: psutil.Process, command: int) -> bool:
    try:
        launcher = process.pid == command or process.name() in SHELLS
        return launcher and any(_in_our_session(child) and _lives(child) for child in process.children())
    except psutil.NoSuchProcess:
        return True


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)  # psutil checks that the number still means the same process


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grace", type=float, default=8.0, help="seconds between asking to end and killing")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    sys.exit(supervise(arguments.command, arguments.grace))
