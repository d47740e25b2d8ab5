"""Outputs put aside come back whole, and nothing is orphaned."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.fingerprint import outputs_of
from pipeline.graph import StageSpec
from pipeline.outputs import RECORD, park, unpark

SPEC = StageSpec("toy", "true", (), (), ("models/toy",), (), {})


def parked(folder: Path) -> Path:
    (folder / "staging" / "models" / "toy").mkdir(parents=True)
    (folder / "staging" / "models" / "toy" / "weights").write_text("w")
    park(folder / "staging", folder / "parked", {"outputs": outputs_of(SPEC, folder / "staging"), "key": "k"})
    return folder / "parked"


def test_parked_and_back(tmp_path: Path) -> None:
    record = unpark(SPEC, parked(tmp_path), tmp_path / "staging")
    assert record is not None and record["key"] == "k"
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert left == ["staging", "staging/models", "staging/models/toy", "staging/models/toy/weights"]


def test_a_move_that_fails_leaves_the_result_parked(tmp_path: Path) -> None:
    place = parked(tmp_path)
    (tmp_path / "file").write_text("no folder can be made here")
    with pytest.raises(OSError):
        unpark(SPEC, place, tmp_path / "file" / "staging")
    assert (place / RECORD).exists()
    assert unpark(SPEC, place, tmp_path / "staging") is not None


def test_one_without_a_record_is_removed(tmp_path: Path) -> None:
    place = parked(tmp_path)
    (place / RECORD).unlink()
    assert unpark(SPEC, place, tmp_path / "staging") is None
    assert not place.exists()
    assert unpark(SPEC, place, tmp_path / "staging") is None
