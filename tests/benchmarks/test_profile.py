"""Which operators a way's time goes to."""

from __future__ import annotations

import pytest

from benchmarks.profile import build, by_operator, main


def test_operators_are_found_with_their_own_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert build("tests.benchmarks.work:product", "side=3")() == 6.0  # 2 threads by default
    found = by_operator(build("tests.benchmarks.work:product", "side=300", "threads=1"))
    assert found["aten::mm"] > found["aten::matmul"] >= 0.0  # which only calls it
    assert main(["tests.benchmarks.work:product", "side=8"]) == 0
    assert "aten::mm" in capsys.readouterr().out
    assert main([]) == 2
    assert "benchmarks.training:ours shape_name=nano" in capsys.readouterr().err
