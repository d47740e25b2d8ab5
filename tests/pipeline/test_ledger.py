"""The ledger of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import ledger, paths


def test_the_newest_match_wins_and_torn_lines_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path / "home"))
    assert ledger.newest(stage="pretrain") is None
    for run in ("first", "second"):
        ledger.append({"stage": "pretrain", "inputs": "i", "outputs": "o", "run_id": run})
    ledger.append({"stage": "pretrain", "inputs": "other", "outputs": "o", "run_id": "third"})
    with paths.ledger_file().open("a") as file:
        file.write('{"stage": "pretrain", "inp')
    ledger.append({"stage": "lora", "inputs": "i", "outputs": "o", "run_id": "fourth"})
    assert [entry["run_id"] for entry in ledger.entries()] == ["first", "second", "third", "fourth"]
    found = ledger.newest(stage="pretrain", inputs="i", outputs="o")
    assert found is not None
    assert found["run_id"] == "second"
    assert ledger.newest(stage="pretrain", inputs="i", outputs="x") is None
