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


def test_newest_is_the_run_that_ended_last_however_late_another_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path / "home"))
    made = {"stage": "pretrain", "inputs": "i", "outputs": "o"}
    for key, run in (("older", None), ("newer", None), ("newer", "run-2"), ("older", "run-1")):
        ledger.append(made | {"key": key, "run_id": run})
    assert (ledger.newest(**made) or {})["run_id"] == "run-2"
    assert (ledger.newest(key="older") or {})["run_id"] == "run-1"
