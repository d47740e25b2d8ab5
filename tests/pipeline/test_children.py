"""The pipe between a flow's follower and the stages: the kernel says who is there, whoever dies how."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import children, paths
from pipeline.children import Children

ROOT = Path(__file__).resolve().parents[2]
JOINS = """
import time
from pipeline import children
end = children.join("flow", "one")
print("in", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path / "home"))
    (paths.journal() / "flow").mkdir(parents=True)


def test_who_joins_is_followed_until_the_last_has_left() -> None:
    follower = Children(children.make("flow"))
    follower.look()
    assert (follower.keys, follower.alive) == ([], False)
    one, two = children.join("flow", "one"), children.join("flow", "two")
    assert one is not None and two is not None
    follower.look()
    assert (follower.keys, follower.alive) == (["one", "two"], True)
    assert children.leave(one, "one")
    follower.look()
    assert (follower.keys, follower.alive) == (["one", "two"], True)
    assert children.leave(two, "two")
    follower.look()
    assert (follower.keys, follower.alive) == (["one", "two"], False)
    again = children.join("flow", "three")
    follower.look()
    assert (follower.keys[-1], follower.alive) == ("three", True)
    assert again is not None and children.leave(again, "three")


def test_where_no_follower_lives_nobody_can_join() -> None:
    assert children.join("flow", "one") is None
    assert children.join("gone", "one") is None
    end = children.make("flow")
    assert end is not None
    joined = children.join("flow", "one")
    assert joined is not None
    os.close(end)  # what the kernel does when the follower dies
    assert not children.leave(joined, "one")
    assert children.join("flow", "two") is None
    assert children.make("gone") is None
    Children(None).look()


def test_a_flow_that_goes_on_after_a_kill_has_a_new_pipe() -> None:
    old, follower = children.make("flow"), Children(children.make("flow"))
    assert old is not None
    joined = children.join("flow", "one")
    follower.look()
    assert (follower.keys, follower.alive) == (["one"], True)
    assert joined is not None and children.leave(joined, "one")
    os.close(old)


def test_after_the_follower_has_closed_nobody_can_join() -> None:
    follower = Children(children.make("flow"))
    follower.close("flow")
    follower.close("flow")
    assert children.join("flow", "one") is None and not (paths.journal() / "flow" / "children").exists()


def test_a_killed_stage_counts_as_gone() -> None:
    follower = Children(children.make("flow"))
    with subprocess.Popen([sys.executable, "-c", JOINS], cwd=ROOT, stdout=subprocess.PIPE) as stage:
        assert stage.stdout is not None and stage.stdout.readline() == b"in\n"
        follower.look()
        assert (follower.keys, follower.alive) == (["one"], True)
        stage.send_signal(signal.SIGKILL)
    follower.look()
    assert (follower.keys, follower.alive) == (["one"], False)
