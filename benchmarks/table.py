"""What was measured as a table, and into a page between markers, where a person's own words around it stay."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Times

HEAD = ("work", "here: least / median", "beside", "beside: least / median", "ratio of least / medians", "to reach", "")


@dataclass(frozen=True)
class Goal:
    """A bound for the ratio: at least so many times as fast as the peer, or at most so many times its time. With
    `seconds`, a bound for the time itself."""

    bound: float
    at_most: bool = False
    seconds: bool = False

    def met(self, values: Sequence[float]) -> bool:
        """Whether every ratio, or every time, keeps to it."""
        return all(value <= self.bound if self.at_most or self.seconds else value >= self.bound for value in values)

    def __str__(self) -> str:
        return f"{'≤' if self.at_most or self.seconds else '≥'} {self.bound:g}{' s' if self.seconds else '×'}"


@dataclass(frozen=True)
class Row:
    """One line of the table: this project's times beside a peer's for the same work."""

    work: str
    ours: Times
    peer_name: str = ""
    peer: Times | None = None
    goal: Goal | None = None
    note: str = ""
    """What else was measured: shares of what the hardware allows, memory, losses."""

    @property
    def ratios(self) -> tuple[float, ...]:
        """By least and by medians: the peer's time over ours, or ours over the peer's where the goal is an upper
        bound."""
        if self.peer is None:
            return ()
        pairs = [(self.peer.least, self.ours.least), (self.peer.median, self.ours.median)]
        upper = self.goal is not None and self.goal.at_most
        return tuple(ours / peer if upper else peer / ours for peer, ours in pairs)

    def cells(self) -> list[str]:
        ratios = " / ".join(f"{ratio:.2f}" for ratio in self.ratios)
        values = (self.ours.least, self.ours.median) if self.goal and self.goal.seconds else self.ratios
        return [
            self.work,
            both(self.ours),
            self.peer_name or "–",
            both(self.peer) if self.peer else "–",
            f"{ratios}×" if ratios else "–",
            reached(str(self.goal), self.goal.met(values)) if self.goal else "–",
            self.note,
        ]


def reached(bound: str, met: bool) -> str:
    return f"{bound}: {'met' if met else 'missed'}"


def to_reach(bound: str, met: bool) -> str:
    """A goal that is neither a ratio nor a time, as it stands in a note behind what was measured."""
    return f"(to reach: {reached(bound, met)})"


def reached_in(note: str) -> list[tuple[str, str]]:
    """The counterpart: (what was measured, the goal) of each in a note, whose parts end with a comma or semicolon."""
    found = (re.fullmatch(r"(.+) \(to reach: (.+)\)", part) for part in re.split(r"[;,] ", note))
    return [(match[1], match[2]) for match in found if match]


def both(times: Times) -> str:
    return f"{duration(times.least)} / {duration(times.median)}"


def duration(seconds: float) -> str:
    """Three digits with the unit that suits: 0.0123 -> 12.3 ms."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            value = seconds / size
            return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"
    return f"{seconds / 1e-9:.0f} ns"


def table(rows: Sequence[Row]) -> str:
    return markdown(HEAD, [row.cells() for row in rows])


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def section(title: str, hardware: str, command: str, rows: Sequence[Row]) -> str:
    """A topic's heading, the machine and the command that measured, and its table."""
    return f"### {title}\n\n`{command}`: {hardware}.\n\n{table(rows)}"


def replace_section(page: str, name: str, text: str) -> str:
    """The page with what stands between this topic's markers replaced; without them it comes last."""
    begin, end = f"<!-- bench: {name} -->", f"<!-- end of bench: {name} -->"
    block = f"{begin}\n\n{text}\n\n{end}"
    if page.count(begin) > 1 or page.count(begin) != page.count(end):
        raise ValueError(f"the markers {begin} and {end} must stand there once each, or not at all")
    if begin not in page:
        return f"{page.rstrip()}\n\n{block}\n".lstrip("\n")
    before, _, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not closed:
        raise ValueError(f"{end} stands before {begin}: it must follow it")
    return before + block + after


def sections_of(page: str) -> dict[str, str]:
    """What stands between the markers, by topic, in the page's order."""
    return dict(re.findall(r"<!-- bench: (\w+) -->(.*?)<!-- end of bench: \1 -->", page, re.DOTALL))


def lines_of(text: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    lines = [line[2:-2].split(" | ") for line in text.split("\n") if line.startswith("| ")]
    return [cells for cells in lines[2:] if len(cells) == len(HEAD)]


def write_section(path: Path, name: str, text: str) -> None:
    page = path.read_text(encoding="utf-8") if path.is_file() else "# Performance\n"
    path.write_text(replace_section(page, name, text), encoding="utf-8", newline="\n")


def to_json(row: Row) -> dict[str, Any]:
    return asdict(row)


def from_json(raw: dict[str, Any]) -> Row:
    """The counterpart of `to_json`."""
    times = {key: Times(tuple(raw[key]["seconds"])) if raw[key] else None for key in ("ours", "peer")}
    goal = Goal(**raw["goal"]) if raw["goal"] else None
    return Row(**{**raw, **times, "goal": goal})
