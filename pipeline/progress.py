"""How far a stage is, three ways: a bar on a terminal, JSON lines for the flow, plain lines for a log.

With SCRIPTORIUM_PROGRESS the stage appends lines to that file, and the flow draws them: {stage, label, done, total,
unit, seconds, left, fields} at most four a second, {said} for a text worth reading, such as a sample, and {evaluated,
step} for what a sweep may end a trial on. `left` (seconds) is extrapolated; null until something is done.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

FILE_EVERY_S = 0.25
LINE_EVERY_S = 10.0


class Progress:
    """`with Progress("pretrain", 500, "steps") as bar: bar.advance(loss=3.2)`. An unknown total is None."""

    def __init__(
        self,
        stage: str,
        total: int | None,
        unit: str = "",
        label: str = "",
        *,
        stream: TextIO | None = None,
        silent: bool = False,
    ) -> None:
        self.stage, self.total, self.unit, self.label = stage, total, unit, label
        self.done = self.start = 0
        self.silent = silent
        self.fields: dict[str, float | int | str] = {}
        self.stream = stream if stream is not None else sys.stderr
        self.file = os.environ.get("SCRIPTORIUM_PROGRESS")
        self.began = self.shown = time.monotonic()
        self.bar: Any = None
        self.every = FILE_EVERY_S if self.file else LINE_EVERY_S

    def __enter__(self) -> Progress:
        if self.silent:
            return self
        if self.file is None and self.stream.isatty():
            self.bar = _rich_bar(self._title, self.total, self.stream)
        elif self.file is not None:
            self._show()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.bar is not None:
            self._show()
            self.bar.stop()
        elif kind is None:
            self._show()

    def advance(self, n: int = 1, **fields: float | int | str) -> None:
        """`n` more are done; the fields (loss, tokens a second, …) are shown beside the count."""
        self.done += n
        self.fields |= fields
        now = time.monotonic()
        if self.bar is not None or now - self.shown >= self.every:  # rich throttles by itself
            self.shown = now
            self._show()

    def skip(self, n: int) -> None:
        """`n` more were done in an earlier life, before the run was resumed: they count, but not for the pace."""
        self.done += n
        self.start += n
        self.began = time.monotonic()

    @property
    def left(self) -> float | None:
        """Seconds to go at the pace so far."""
        if not self.total or self.done <= self.start:
            return None
        return (time.monotonic() - self.began) / (self.done - self.start) * max(0, self.total - self.done)

    @property
    def _title(self) -> str:
        return f"{self.stage} {self.label}".rstrip()

    def _show(self) -> None:
        if self.silent:
            return
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=self.done, note=_words(self.fields))
        elif self.file is not None:
            self._append(Path(self.file))
        else:
            print(self._line(), file=self.stream, flush=True)

    def _append(self, file: Path) -> None:
        event = {
            "stage": self.stage, "label": self.label, "done": self.done, "total": self.total, "unit": self.unit,
            "fields": self.fields, "seconds": round(time.monotonic() - self.began, 1), "left": self.left,
        }  # fmt: skip
        try:
            _append_line(file, event)
        except OSError:  # a bar that cannot be drawn stops no training
            self.every = float("inf")

    def _line(self) -> str:
        count = f"{self.done:,}" + (f"/{self.total:,}" if self.total else "") + (f" {self.unit}" if self.unit else "")
        left = self.left
        ahead = f"{_clock(left)} left" if left else f"{_clock(time.monotonic() - self.began)}"
        return f"{self._title}: " + " · ".join(part for part in (count, _words(self.fields), ahead) if part)


def say(text: str) -> None:
    """A line for the log, and for whoever watches the bars."""
    print(text, flush=True)
    if file := os.environ.get("SCRIPTORIUM_PROGRESS"):
        with contextlib.suppress(OSError):
            _append_line(Path(file), {"said": text})


def evaluated(values: Mapping[str, float], step: int) -> None:
    """What was measured on validation data after a step of training, for whoever compares trainings under way."""
    found = {name: value for name, value in values.items() if "validation" in name}
    if found and (file := os.environ.get("SCRIPTORIUM_PROGRESS")):
        with contextlib.suppress(OSError):
            _append_line(Path(file), {"evaluated": found, "step": step})


def _append_line(file: Path, event: dict[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(event, sort_keys=True, ensure_ascii=False, default=float) + "\n")


def _rich_bar(title: str, total: int | None, stream: TextIO) -> Any:
    from rich import progress
    from rich.console import Console

    columns = ("{task.description}", progress.BarColumn(), progress.MofNCompleteColumn(), "{task.fields[note]}")
    bar = progress.Progress(*columns, progress.TimeRemainingColumn(), console=Console(file=stream))
    bar.add_task(title, total=total, note="")
    bar.start()
    return bar


def _words(fields: dict[str, Any]) -> str:
    """ "loss 3.2 · 1,200 tokens/s": numbers with their names, texts as they are."""
    return " · ".join(v if isinstance(v, str) else f"{k.replace('_', ' ')} {_number(v)}" for k, v in fields.items())


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
