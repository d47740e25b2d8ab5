"""Tables and the page that takes them."""

from __future__ import annotations

import json

import pytest

from benchmarks.measure import Times
from benchmarks.table import Goal, Row, duration, from_json, replace_section, section, table, to_json, write_section

FASTER = Row("a step", Times((0.2, 0.25, 0.3)), "the peer", Times((0.5, 0.5, 0.9)), Goal(2.0), "half the rate")
SLOWER = Row("a start", Times((3.0,)), "a bare start", Times((2.0,)), Goal(1.4, at_most=True))
ALONE = Row("opening", Times((2e-5, 4e-5)))


def test_ratios_by_least_and_by_median():
    assert FASTER.ratios == (2.5, 2.0)
    assert SLOWER.ratios == (1.5,) * 2
    assert ALONE.ratios == ()


def test_a_goal_is_met_by_both_ratios_or_missed():
    assert "≥ 2×: met" in FASTER.cells()
    assert "≤ 1.4×: missed" in SLOWER.cells()
    assert not Goal(2.2).met(FASTER.ratios)  # the medians' is 2.0
    assert "≤ 1 s: met" in Row("opening", Times((0.5,)), goal=Goal(1.0, seconds=True)).cells()
    assert "≤ 1 s: missed" in Row("opening", Times((0.5, 1.5, 1.5)), goal=Goal(1.0, seconds=True)).cells()


def test_lines_of_the_table():
    lines = table([FASTER, ALONE]).split("\n")
    assert lines[2] == (
        "| a step | 200 ms / 250 ms | the peer | 500 ms / 500 ms | 2.50 / 2.00× | ≥ 2×: met | half the rate |"
    )
    assert lines[3] == "| opening | 20.0 µs / 30.0 µs | – | – | – | – |  |"
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(123.4, "123 s"), (1.234, "1.23 s"), (0.0123, "12.3 ms"), (4.5e-5, "45.0 µs"), (5e-8, "50 ns")],
)
def test_durations(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize("row", [FASTER, SLOWER, ALONE])
def test_rows_travel_as_json(row):
    assert from_json(json.loads(json.dumps(to_json(row)))) == row


def test_a_page_keeps_what_a_person_wrote(tmp_path):
    page = tmp_path / "performance.md"
    page.write_text("# Performance\n\nBefore.\n\n<!-- bench: a -->\nold\n<!-- end of bench: a -->\n\nAfter.\n")
    write_section(page, "a", "new")
    write_section(page, "b", "other")
    write_section(page, "a", "newer")
    assert page.read_text() == (
        "# Performance\n\nBefore.\n\n<!-- bench: a -->\n\nnewer\n\n<!-- end of bench: a -->\n\nAfter.\n\n"
        "<!-- bench: b -->\n\nother\n\n<!-- end of bench: b -->\n"
    )


def test_a_new_page_begins_with_its_heading(tmp_path):
    write_section(tmp_path / "new.md", "a", section("A topic", "a machine", "make bench NAME=a", [ALONE]))
    text = (tmp_path / "new.md").read_text()
    assert text.startswith(
        "# Performance\n\n<!-- bench: a -->\n\n### A topic\n\n`make bench NAME=a`: a machine.\n\n| work |"
    )


@pytest.mark.parametrize(
    "page",
    [
        "<!-- bench: a -->",
        "<!-- end of bench: a --> <!-- bench: a -->",
        "<!-- bench: a --><!-- end of bench: a -->" * 2,
    ],
)
def test_broken_markers_are_refused(page):
    with pytest.raises(ValueError, match="bench: a"):
        replace_section(page, "a", "text")
