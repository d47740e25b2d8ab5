"""The command and its processes, on work that takes no time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import has_cuda, main, said
from benchmarks.topics import TOPICS
from benchmarks.worker import Worker


def test_a_worker_measures_itself():
    with Worker("tests.benchmarks.work:lists", length=3_000_000) as work:
        assert work() >= 0.0
        assert work.value == 3_000_000
        assert 0 < work.own_bytes < work.peak_bytes
        work()
    assert work.process.returncode == 0


def test_a_worker_that_fails_says_so(capfd):
    with (
        Worker("tests.benchmarks.work:failing") as work,
        pytest.raises(RuntimeError, match=r"failing .* ended with 1"),
    ):
        work()
    assert "this work fails" in capfd.readouterr().err


def test_unknown_names_are_refused(capsys):
    assert main(["nothing"]) == 1
    assert capsys.readouterr().err == f"error: 'nothing' is no benchmark: {', '.join(TOPICS)} are\n"
    assert main(["training", "--size", "-1"]) == 1
    assert "--size is -1.0: it must be above 0" in capsys.readouterr().err


@pytest.mark.skipif(has_cuda(), reason="this machine has a CUDA device")
def test_without_a_gpu_it_is_refused_by_name_and_left_out_of_a_run_of_all(capsys, monkeypatch):
    assert main(["gpu"]) == 1
    said = "error: gpu measures a CUDA device, and this machine has none that PyTorch can use\n"
    assert capsys.readouterr().err == said
    ran: list[str] = []
    monkeypatch.setattr("benchmarks.__main__.run", lambda name, *others: not ran.append(name))
    assert main(["--out", "-"]) == 0
    assert ran == [name for name in TOPICS if name != "gpu"]


def test_the_command_of_a_table():
    assert said("tokenizing", 1000.0) == "make bench NAME=tokenizing SIZE=1000"
    assert said("training", None) == "make bench NAME=training"
    assert said("losses", None, Path("texts/my.txt")) == "make bench NAME=losses TEXT=my.txt"


@pytest.mark.parametrize("name", TOPICS)
def test_every_topic_has_rows(name):
    module = __import__(f"benchmarks.{name}", fromlist=["rows"])
    assert callable(module.rows)
    assert json.dumps(TOPICS[name].title)
