"""The limits' bookkeeping; the rates themselves depend on the machine."""

from __future__ import annotations

from benchmarks.hardware import Hardware, better


def test_the_better_of_two_measurements():
    one, other = Hardware("here", 1.0, 9.0, 3.0, 4.0, 5.0), Hardware("here", 2.0, 8.0, 3.0, 5.0, 4.0)
    assert better(one, other) == Hardware("here", 2.0, 9.0, 3.0, 5.0, 5.0)
    assert better(one, other).sentence().startswith("here; measured in this run: matrix products 2 GFLOP/s in float32")
