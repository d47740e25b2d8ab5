"""One live bar for each running stage on a terminal, drawn from the JSON lines that the stages append.

The stages know nothing of it: they write {done, total, unit, fields} a few times a second (pipeline/progress.py) into
files named by the flow; {said} is printed above the bars. Where no terminal is, nothing is drawn and the stages' own
lines are in the log.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tasks.reproduce import Outcome, Setting
from tasks.summarize import COLOURS, in_short

REDRAW_S = 0.2


@contextmanager
def live_bars(setting: Setting, names: list[str], outcomes: Mapping[str, Outcome], console: Console) -> Iterator[None]:
    """Draw while the block runs, and a line for each stage as it ends; nothing if the console is no terminal."""
    if not console.is_terminal:
        yield
        return
    stop = threading.Event()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bars = _Bars(setting, names, outcomes, progress)
        thread = threading.Thread(target=bars.draw_until, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


class _Bars:
    """The bars on the screen, and how far each progress file has been read."""

    def __init__(self, setting: Setting, names: list[str], outcomes: Mapping[str, Outcome], progress: Progress) -> None:
        self.setting, self.names, self.outcomes, self.progress = setting, names, outcomes, progress
        self.shown: dict[str, TaskID] = {}
        self.told: set[str] = set()
        self.read: dict[str, int] = {}

    def draw_until(self, stop: threading.Event) -> None:
        while not stop.wait(REDRAW_S):
            self.draw()
        self.draw()

    def draw(self) -> None:
        for name in self.names:
            outcome = self.outcomes.get(name)
            if outcome is not None:
                self._finish(name, outcome)
                continue
            events, self.read[name] = events_since(self.setting.progress_file(name), self.read.get(name, 0))
            for event in events:
                if "said" in event:
                    self.progress.console.print(f"{name}: {event['said']}", style="dim", highlight=False, markup=False)
            if latest := [event for event in events if "done" in event]:
                self._update(name, latest[-1])

    def _update(self, name: str, event: Mapping[str, Any]) -> None:
        title = " ".join(part for part in (name, event.get("label")) if part)
        if name not in self.shown:
            self.shown[name] = self.progress.add_task(title, total=event["total"], note="")
        known = {"description": title, "completed": event["done"], "total": event["total"]}
        self.progress.update(self.shown[name], note=note(event), **known)

    def _finish(self, name: str, outcome: Outcome) -> None:
        if name in self.shown:
            self.progress.remove_task(self.shown.pop(name))
        if name not in self.told:
            self.told.add(name)
            self.progress.console.print(
                f"{name}: [{COLOURS[outcome.what]}]{outcome.what}[/] in {outcome.seconds:.1f} s", highlight=False
            )


def events_since(file: Path, place: int) -> tuple[list[dict[str, Any]], int]:
    """The whole lines behind byte `place` of a progress file, and where the next begin; a shorter file is a new one."""
    try:
        with file.open("rb") as lines:
            lines.seek(place if file.stat().st_size >= place else 0)
            start, found = lines.tell(), lines.read()
    except OSError:
        return [], place
    whole = found[: found.rfind(b"\n") + 1]
    events = []
    for line in whole.splitlines():
        with contextlib.suppress(ValueError):
            events.append(dict(json.loads(line)))
    return events, start + len(whole)


def note(event: Mapping[str, Any]) -> str:
    """How far, and the numbers beside it: "120/500 steps · loss 3.21"."""
    count = f"{event['done']:,}" + (f"/{event['total']:,}" if event["total"] else "") + f" {event.get('unit', '')}"
    fields = event.get("fields", {}).items()  # texts speak for themselves, numbers need their names
    told = [value if isinstance(value, str) else f"{key.replace('_', ' ')} {in_short(value)}" for key, value in fields]
    return " · ".join([count.strip(), *told])
