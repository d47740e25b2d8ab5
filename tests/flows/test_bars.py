"""Live bars, drawn from what stages write."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from flows.bars import events_since, live_bars, note
from tasks.reproduce import Outcome, Setting

EVENT = {
    "stage": "train",
    "label": "random",
    "done": 1200,
    "total": 5000,
    "unit": "steps",
    "fields": {"train_loss": 3.21987},
}


def test_whole_lines_are_read_once_and_a_new_file_from_its_beginning(tmp_path: Path) -> None:
    file = tmp_path / "progress.jsonl"
    assert events_since(file, 0) == ([], 0)
    file.write_text('{"done": 1}\n{"done": 2}\n{"do')
    events, place = events_since(file, 0)
    assert events == [{"done": 1}, {"done": 2}]
    file.write_text('{"done": 1}\n{"done": 2}\n{"done": 3}\n')
    assert events_since(file, place) == ([{"done": 3}], 36)
    file.write_text('{"done": 1}\n')
    assert events_since(file, 36) == ([{"done": 1}], 12)


def test_a_note_says_how_far_and_what_else() -> None:
    assert note(EVENT) == "1,200/5,000 steps · train loss 3.22"
    assert note({"done": 3, "total": None, "unit": "files"}) == "3 files"


def test_a_running_stage_has_a_bar_and_a_finished_one_a_line(tmp_path: Path) -> None:
    setting, outcomes = Setting(tmp_path, tmp_path), {"load": Outcome("load", "cached", 0.1)}
    said = {"said": "[after] 5 steps"}
    setting.progress_file("train").write_text(json.dumps(said) + "\n" + json.dumps(EVENT) + "\n")
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=120, color_system=None, legacy_windows=False)
    with live_bars(setting, ["load", "train", "later"], outcomes, terminal):
        pass
    assert "load: cached in 0.1 s" in screen.getvalue()
    assert "train random" in screen.getvalue() and "1,200/5,000 steps · train loss 3.22" in screen.getvalue()
    assert screen.getvalue().count("train: [after] 5 steps") == 1
    assert "later" not in screen.getvalue()


def test_nothing_is_drawn_where_no_terminal_is(tmp_path: Path) -> None:
    screen = io.StringIO()
    with live_bars(Setting(tmp_path, tmp_path), ["load"], {"load": Outcome("load", "ran", 1.0)}, Console(file=screen)):
        pass
    assert screen.getvalue() == ""
