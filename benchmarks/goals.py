"""The goals of all tables of a page in one: what was to be reached, and whether it was."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.table import lines_of, markdown, reached_in, sections_of

HEAD = ("benchmark", "work", "beside", "measured", "to reach")
GOALS = "goals"  # the section's name


def overview(page: str) -> str:
    """A section's text: how many goals are met, and a line for each, in the page's order; "" where none is set."""
    lines = [line for name, text in sections_of(page).items() if name != GOALS for line in goals_of(text)]
    if not lines:
        return ""
    met = sum(line[-1].endswith(": met") for line in lines)
    said = f"{met} of {len(lines)} are met, read from the tables of this page."
    return f"### The goals\n\n{said}\n\n{markdown(HEAD, lines)}"


def goals_of(text: str) -> Iterator[tuple[str, ...]]:
    """A topic's goals: those of ratios and times, which have a column, and those in its notes."""
    title = text.strip().partition("\n")[0].removeprefix("### ")
    for work, here, beside, _, ratio, goal, note in lines_of(text):
        if goal.endswith((": met", ": missed")):
            yield title, work, beside, here if ratio == "–" else ratio, goal
        for measured, bound in reached_in(note):
            yield title, work, "–", measured, bound
