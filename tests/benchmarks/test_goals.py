"""The goals of a page in one table."""

from __future__ import annotations

from pathlib import Path

from benchmarks.__main__ import sum_up
from benchmarks.goals import overview
from benchmarks.measure import Times
from benchmarks.table import Goal, Row, section, to_reach, write_section

TIMES = Times((1.0,))
ROWS = {
    "steps": [
        Row(
            "a step", TIMES, "the peer", Times((3.0,)), Goal(2.0), f"1,540 MB {to_reach('less', False)}, peer 1,200 MB"
        ),
        Row("a step, eager", TIMES, "the peer", Times((3.0,)), None, "met with an accident"),
    ],
    "opening": [Row("a file", TIMES, goal=Goal(2.0, seconds=True), note=f"9; 61 tokens/s {to_reach('≥ 50', True)}")],
}


def page(folder: Path) -> Path:
    file = folder / "page.md"
    for name, rows in ROWS.items():
        write_section(file, name, section(name.title(), "a machine", f"make bench NAME={name}", rows))
    return file


def test_every_goal_has_a_line_and_nothing_else_has(tmp_path):
    lines = overview(page(tmp_path).read_text()).split("\n")
    assert lines[2] == "3 of 4 are met, read from the tables of this page."
    assert lines[6:] == [
        "| Steps | a step | the peer | 3.00 / 3.00× | ≥ 2×: met |",
        "| Steps | a step | – | 1,540 MB | less: missed |",
        "| Opening | a file | – | 1.00 s / 1.00 s | ≤ 2 s: met |",
        "| Opening | a file | – | 61 tokens/s | ≥ 50: met |",
    ]


def test_it_stands_in_the_page_and_is_not_counted_again(tmp_path, capsys):
    file = page(tmp_path)
    sum_up(str(file))
    once = file.read_text()
    sum_up(str(file))
    assert file.read_text() == once and once.count("### The goals") == 1
    assert overview(once) in capsys.readouterr().out


def test_a_page_without_goals_stays_as_it_is(tmp_path, capsys):
    file = tmp_path / "page.md"
    write_section(file, "steps", section("Steps", "a machine", "make bench", [Row("a step", TIMES)]))
    before = file.read_text()
    sum_up(str(file))
    sum_up("-")
    assert file.read_text() == before and capsys.readouterr().out == ""
