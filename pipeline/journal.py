"""The journal: everything that MLflow shall know of a run, written down first, in HOME/journal/KEY/events.jsonl.

The journal is the source of truth, `pipeline.sync` replays it. Because of that one mechanism it makes no difference
whether the tracking server was there, came later, or whether the run was killed and resumed in between. An unfinished
journal is continued by the next run with the same stage and fingerprint, so that a resumed run stays one MLflow run;
each (metric, step) is written once and keeps its first timestamp.

Event types, all with "time" in milliseconds: start, metrics, tags, dataset, artifact, model, summary, end.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.files import link_or_copy, write_json
from pipeline.secrets import scrubbed

FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"
TAIL_BYTES = 1 << 12


@dataclass
class Sent:
    """How far a journal has reached a tracking server; `offset` counts bytes of events.jsonl."""

    uri: str = ""
    experiment_id: str = ""
    run_id: str | None = None
    offset: int = 0

    def save(self, key: str) -> None:
        write_json(paths.journal() / key / "sent.json", asdict(self))


def sent(key: str) -> Sent:
    try:
        return Sent(**json.loads((paths.journal() / key / "sent.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Sent()


def events(key: str, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
    """The complete events from a byte offset on, each with the offset behind it; a line torn by a kill is left out."""
    try:
        with (paths.journal() / key / "events.jsonl").open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                if isinstance(event, dict):
                    yield event, offset
    except FileNotFoundError:
        return


def last(key: str) -> dict[str, Any]:
    """The newest complete event, {} without any. Read from the end: a follower asks every few seconds."""
    try:
        with (paths.journal() / key / "events.jsonl").open("rb") as file:
            size, reach = file.seek(0, os.SEEK_END), TAIL_BYTES
            while True:
                file.seek(max(0, size - reach))
                lines = file.read(min(size, reach)).split(b"\n")
                for line in reversed(lines[0 if reach >= size else 1 : -1]):  # the outermost may be parts of lines
                    with suppress(ValueError):
                        if isinstance(event := json.loads(line), dict):
                            return event
                if reach >= size:
                    return {}
                reach *= 16
    except FileNotFoundError:
        return {}


def finished(key: str) -> bool:
    """Whether the journal's last word is that its run ended well: nothing will be added."""
    word = last(key)
    return word.get("type") == "end" and word.get("status") == FINISHED


def last_process(key: str) -> dict[str, Any]:
    """The process that last began or went on with the run (`locks.this_process`); {} where the journal names none."""
    found: dict[str, Any] = {}
    for event, _ in events(key):
        found = event.get("process", found) if event["type"] == "start" else found
    return found


def known() -> list[str]:
    """All journals there are."""
    return sorted(file.parent.name for file in paths.journal().glob("*/events.jsonl"))


def unsent() -> list[str]:
    """The keys of journals with something left to send, oldest first."""
    found = []
    for file in paths.journal().glob("*/events.jsonl"):
        size = file.stat().st_size
        if size > sent(file.parent.name).offset:
            found.append((file.stat().st_mtime, file.parent.name))
    return [key for _, key in sorted(found)]


class Journal:
    """A journal open for writing; one writer at a time (the stage's lock sees to that)."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.folder = paths.journal() / key
        self.folder.mkdir(parents=True, exist_ok=True)
        self.attempt = 0  # how often the run was started before
        self._logged: dict[str, set[int]] = {}
        for event, _ in events(key):
            self.attempt += event["type"] == "start"
            if event["type"] == "metrics":
                self._new(event["values"], event["step"])
        self._file = (self.folder / "events.jsonl").open("ab", buffering=0)
        self._torn = self._ends_torn()

    @classmethod
    def of_stage(cls, stage: str, fingerprint: str) -> Journal:
        """The unfinished journal of these inputs, or a new one."""
        prefix = f"{stage}-{fingerprint[:16]}-"
        if paths.journal().is_dir():
            for folder in sorted(paths.journal().iterdir()):
                if folder.name.startswith(prefix) and not finished(folder.name):
                    return cls(folder.name)
        return cls(prefix + uuid.uuid4().hex[:8])

    def write(self, type: str, **fields: Any) -> None:
        """Append one event, handed to the operating system at once: what a killed process wrote is kept."""
        fields = fields if type == "metrics" else scrubbed(fields)  # what the journal has, MLflow gets
        event = {"type": type, "time": round(time.time() * 1000)} | fields
        line = json.dumps(event, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        rest = b"\n" + line if self._torn else line
        self._torn = True  # a full disk takes a part of it: what follows begins on a line of its own
        while rest:
            rest = rest[self._file.write(rest) :]
        self._torn = False

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Write the values whose (metric, step) is new; a resumed run repeats some steps."""
        if new := self._new(values, step):
            self.write("metrics", step=step, values={name: _number(value) for name, value in new.items()})

    def end(self, status: str) -> None:
        self.write("end", status=status)
        os.fsync(self._file.fileno())
        self._file.close()

    def keep(self, source: Path, name: str) -> str:
        """Keep a file or folder until it is sent, large files as hard links; returns its path inside the journal."""
        place = self.folder / "files" / uuid.uuid4().hex[:12] / name
        place.parent.mkdir(parents=True)
        if source.is_dir():
            shutil.copytree(source, place, copy_function=link_or_copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            link_or_copy(str(source), str(place))
        return place.relative_to(self.folder).as_posix()

    def _new(self, values: Mapping[str, Any], step: int) -> dict[str, Any]:
        new = {name: value for name, value in values.items() if step not in self._logged.setdefault(name, set())}
        for name in new:
            self._logged[name].add(step)
        return new

    def _ends_torn(self) -> bool:
        with (self.folder / "events.jsonl").open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
            return bool(end) and file.read(1) != b"\n"


def _number(value: float) -> float | str:
    """NaN and infinity are no JSON; `float()` reads these words back."""
    number = float(value)
    return number if math.isfinite(number) else str(number)
