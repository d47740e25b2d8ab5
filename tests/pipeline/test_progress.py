"""How progress is shown."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from pipeline.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCRIPTORIUM_PROGRESS", raising=False)


def test_a_log_gets_few_lines_and_the_last_one() -> None:
    stream = io.StringIO()
    with Progress("pretrain", 1000, "steps", stream=stream) as bar:
        for step in range(1000):
            bar.advance(loss=3.0 - step / 1000, pace="12,346 tokens/s")
    lines = stream.getvalue().splitlines()
    assert len(lines) <= 3
    assert lines[-1].startswith("pretrain: 1,000/1,000 steps · loss 2.001 · 12,346 tokens/s · ")


def test_the_flow_gets_json_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, stream = tmp_path / "progress.jsonl", io.StringIO()
    monkeypatch.setenv("SCRIPTORIUM_PROGRESS", str(file))
    with Progress("classify", 50, "steps", "random", stream=stream) as bar:
        bar.skip(30)
        for _ in range(20):
            bar.advance(loss=1.5)
    events = [json.loads(line) for line in file.read_text().splitlines()]
    assert stream.getvalue() == ""
    assert len(events) < 20
    assert events[0]["done"] == 0
    assert events[0]["left"] is None
    assert events[-1] | {"seconds": 0} == {
        "stage": "classify", "label": "random", "done": 50, "total": 50, "unit": "steps", "fields": {"loss": 1.5},
        "seconds": 0, "left": 0.0,
    }  # fmt: skip


def test_a_progress_file_that_cannot_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTORIUM_PROGRESS", str(tmp_path))
    with Progress("classify", 2, "steps") as bar:
        bar.advance(2)
    assert bar.done == 2


def test_a_person_gets_a_bar() -> None:
    stream = Terminal()
    with Progress("tokenize", None, "documents", stream=stream) as bar:
        bar.advance(7)
    assert "tokenize" in stream.getvalue()
    assert "7" in stream.getvalue()


def test_helpers_of_a_torchrun_are_silent() -> None:
    stream = io.StringIO()
    with Progress("pretrain", 2, "steps", stream=stream, silent=True) as bar:
        bar.advance(2)
    assert stream.getvalue() == ""
