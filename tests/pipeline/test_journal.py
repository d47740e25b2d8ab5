"""The journal: nothing is lost, nothing stands twice."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import journal
from pipeline.journal import Journal


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path / "home"))


def _points(key: str) -> list[tuple[str, int, float]]:
    return [
        (name, event["step"], float(value))
        for event, _ in journal.events(key)
        if event["type"] == "metrics"
        for name, value in event["values"].items()
    ]


@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=20), min_size=1, max_size=4))
def test_each_metric_and_step_stands_once_the_first_time(lives: list[list[tuple[str, int]]]) -> None:
    """However often a run is killed and resumed, and whatever it repeats."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as home:
        patch.setenv("SCRIPTORIUM_HOME", home)
        expected: dict[tuple[str, int], float] = {}
        for life, points in enumerate(lives):
            open_journal = Journal("run")
            for name, step in points:
                open_journal.metrics({name: life}, step)
                expected.setdefault((name, step), life)
        assert _points("run") == [(name, step, life) for (name, step), life in expected.items()]


@given(
    st.lists(st.integers(0, 3 * journal.TAIL_BYTES), max_size=6), st.binary(max_size=9).filter(lambda b: b"\n" not in b)
)
def test_the_last_event_is_read_from_the_end(lengths: list[int], torn: bytes) -> None:
    """Whatever the lengths of the lines before it and whatever a kill left behind it."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as home:
        patch.setenv("SCRIPTORIUM_HOME", home)
        assert journal.last("run") == {}
        written = Journal("run")
        for place, length in enumerate(lengths):
            written.write("summary", rows=[], text="x" * length, place=place)
        with (written.folder / "events.jsonl").open("ab") as file:
            file.write(torn)
        assert journal.last("run") == ([event for event, _ in journal.events("run")] or [{}])[-1]


def test_a_torn_line_is_left_out_and_the_next_one_kept() -> None:
    first = Journal("run")
    first.metrics({"loss": 1.0}, 0)
    with (first.folder / "events.jsonl").open("ab") as file:
        file.write(b'{"type": "metrics", "step": 1, "val')
    assert _points("run") == [("loss", 0, 1.0)]
    Journal("run").metrics({"loss": 2.0}, 1)
    assert _points("run") == [("loss", 0, 1.0), ("loss", 1, 2.0)]


def test_offsets_resume_where_one_stopped() -> None:
    open_journal = Journal("run")
    for step in range(5):
        open_journal.metrics({"loss": step}, step)
    offsets = [end for _, end in journal.events("run")]
    assert [event["step"] for event, _ in journal.events("run", offsets[2])] == [3, 4]
    assert list(journal.events("run", offsets[-1])) == []


def test_infinite_values_come_back() -> None:
    Journal("run").metrics({"a": math.nan, "b": -math.inf}, 0)
    (_, _, nan), (_, _, infinite) = _points("run")
    assert math.isnan(nan)
    assert infinite == -math.inf


def test_an_unfinished_journal_is_continued_a_finished_one_is_not() -> None:
    first = Journal.of_stage("pretrain", "f" * 32)
    first.write("start")
    stopped = Journal.of_stage("pretrain", "f" * 32)
    assert (stopped.key, stopped.attempt) == (first.key, 1)
    stopped.end(journal.KILLED)
    failed = Journal.of_stage("pretrain", "f" * 32)
    failed.write("start")
    failed.end(journal.FAILED)
    again = Journal.of_stage("pretrain", "f" * 32)
    assert (again.key, again.attempt) == (first.key, 2)
    again.end(journal.FINISHED)
    assert journal.finished(first.key)
    assert Journal.of_stage("pretrain", "f" * 32).key != first.key
    assert Journal.of_stage("pretrain", "e" * 32).key != first.key


def test_files_are_kept_as_they_were(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "weights").write_bytes(b"w" * (2 << 20))
    open_journal = Journal("run")
    kept = open_journal.folder / open_journal.keep(folder, "model")
    (folder / "config.json").write_text("edited")
    (folder / "weights").unlink()
    assert sorted(file.name for file in kept.iterdir()) == ["config.json", "weights"]
    assert (kept / "config.json").read_text() == "{}"
    assert (kept / "weights").stat().st_size == 2 << 20
    assert open_journal.keep(tmp_path / "model" / "config.json", "config.json").endswith("/config.json")


def test_what_is_unsent() -> None:
    for key in ("a", "b"):
        Journal(key).write("start")
    end = [end for _, end in journal.events("a")][-1]
    state = journal.sent("a")
    state.offset = end
    state.save("a")
    assert journal.unsent() == ["b"]
    Journal("a").end(journal.KILLED)
    assert sorted(journal.unsent()) == ["a", "b"]
