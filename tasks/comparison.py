"""Two results or more side by side, as data: what made them, what came out, and whether the differences are noise.

`compare` gathers everything; `tasks/comparison_page.py` writes it as a page. The first result is what the others are
measured against. Nothing here chooses: verdicts on the validation part come first, those on other parts are reports.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.graph import StageSpec, load_graph
from tasks import paired
from tasks.paired import Asked, Sheets, Verdict
from tasks.results import Result

ABSENT = object()
DATA_STAGES = ("download", "tokenize", "sample")
MADE_BY = {"classify": {"lora": "lora", "": "classify"}, "instruct": {"": "instruct"}, "language": {"": "pretrain"}}


@dataclass(frozen=True)
class Line:
    """A name and each result's value; ABSENT where it has none."""

    name: str
    values: tuple[Any, ...]

    @property
    def differs(self) -> bool:
        return any(value is not self.values[0] and value != self.values[0] for value in self.values[1:])

    def change(self, other: int) -> float | None:
        """The other's number less the first's."""
        first, second = self.values[0], self.values[other]
        return second - first if _is_number(first) and _is_number(second) else None


@dataclass(frozen=True)
class CodeFile:
    """A source file that differs: in which stages' recorded inputs, and lines added and removed between the commits."""

    path: str
    stages: tuple[str, ...] = ()
    added: str = ""
    removed: str = ""


@dataclass(frozen=True)
class Confusion:
    """One classifier's validation messages: rows expected, columns predicted, a table a result."""

    variant: str
    labels: list[str]
    tables: list[list[list[int]]]


@dataclass(frozen=True)
class Answers:
    """One model's validation questions, those that the results answered differently first."""

    task: str
    variant: str
    asked: list[Asked]

    @property
    def differing(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.differ]

    @property
    def agreeing(self) -> list[Asked]:
        return [asked for asked in self.asked if not asked.differ]


@dataclass(frozen=True)
class Comparison:
    """Everything that the page shows. `code`: per other result, the files that differ from the first one's."""

    results: tuple[Result, ...]
    params: list[Line]
    data: list[Line]
    rows: list[Line]
    code: list[list[CodeFile]]
    key_metrics: list[Line]
    metrics: dict[str, list[Line]]
    verdicts: list[Verdict]
    missing: list[str]
    confusions: list[Confusion]
    answers: list[Answers]

    @property
    def names(self) -> list[str]:
        return [result.name for result in self.results]


def compare(root: Path, results: Sequence[Result]) -> Comparison:
    """Put the results side by side."""
    subjects = {result.stage for result in results}
    one_name = len(subjects) > 1 and subjects <= set(paired.NAMED)  # a LoRA run beside a classifier's
    sheets = [paired.sheets_of(result, one_name) for result in results]
    metrics = {
        stage: lines_of([_shown(stage, result) for result in results])
        for stage in dict.fromkeys(stage for result in results for stage in result.stages)
    }
    return Comparison(
        results=tuple(results),
        params=[line for line in lines_of([result.params for result in results]) if line.differs],
        data=lines_of([_data(result) for result in results]),
        rows=lines_of([_row_counts(result) for result in results]),
        code=[_code(root, results[0], other) for other in results[1:]],
        key_metrics=_key_metrics(load_graph(root), metrics),
        metrics=metrics,
        verdicts=paired.verdicts(results, sheets),
        missing=paired.missing(results, sheets),
        confusions=_confusions(sheets),
        answers=_answers(sheets),
    )


def lines_of(tables: Sequence[Mapping[str, Any]]) -> list[Line]:
    """A line for every name that a table holds, in the order in which they are met."""
    names = dict.fromkeys(name for table in tables for name in table)
    return [Line(name, tuple(table.get(name, ABSENT) for table in tables)) for name in names]


def _data(result: Result) -> dict[str, str]:
    """The digests of everything below data/: read or made."""
    read = {path: md5 for deps in result.inputs.values() for path, md5 in deps.items()}
    return {path: md5 for path, md5 in sorted((read | result.outputs).items()) if path.startswith("data/")}


def _row_counts(result: Result) -> dict[str, int]:
    """How much data there is, as the data stages counted it."""
    found = {}
    for stage in DATA_STAGES:
        for name, value in result.metrics.get(stage, {}).items():
            if _is_number(value) and float(value).is_integer() and value > 1:
                found[f"{stage}: {name.replace('_', ' ').replace('.', ' ')}"] = int(value)
    return found


def _code(root: Path, first: Result, second: Result) -> list[CodeFile]:
    """What the recorded digests say, then what git says; a change that no commit holds is only in the former."""
    stages: dict[str, list[str]] = {}
    for stage in first.inputs.keys() & second.inputs.keys():
        for path, md5 in first.inputs[stage].items() | second.inputs[stage].items():
            known = [result.inputs[stage] for result in (first, second)]
            python = path.endswith(".py") and all(any(p.endswith(".py") for p in deps) for deps in known)
            if python and any(deps.get(path) != md5 for deps in known) and stage not in stages.setdefault(path, []):
                stages[path].append(stage)
    lines = _between(root, first, second)
    order = list(first.stages)
    return [
        CodeFile(path, tuple(sorted(stages.get(path, ()), key=order.index)), *lines.get(path, ("", "")))
        for path in sorted({*stages, *lines}, key=lambda path: (path not in stages, path))
    ]


def _between(root: Path, first: Result, second: Result) -> dict[str, tuple[str, str]]:
    """Path → lines (added, removed) between two commits; the workspace's side is what lies there now."""
    if first.commit is None or second.commit is None:
        return {}
    ends = [result.commit for result in (first, second) if result.kind != "workspace"]
    backwards = first.kind == "workspace"
    command = ["git", "diff", "--numstat", "--no-renames", *map(str, ends), "--", ".", ":!dvc.lock", ":!params.yaml"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    found = {}
    for line in done.stdout.splitlines() if done.returncode == 0 else ():
        added, removed, path = line.split("\t", 2)
        found[path] = (removed, added) if backwards else (added, removed)
    return found


def _shown(stage: str, result: Result) -> dict[str, Any]:
    """A stage's numbers; of evaluate's, those about models that the result is about."""
    found = {}
    for name, value in result.metrics.get(stage, {}).items():
        group, _, rest = name.partition(".")
        maker = MADE_BY.get(group, {}) if stage == "evaluate" else {}
        made_by = maker.get(rest.partition(".")[0], maker.get("", stage))
        if _is_number(value) and made_by in result.stages:
            found[name] = value
    return found


def _key_metrics(graph: Mapping[str, StageSpec], metrics: Mapping[str, Sequence[Line]]) -> list[Line]:
    """The metric that dvc.yaml names for each stage."""
    found = []
    for stage, lines in metrics.items():
        key = graph[stage].key_metric if stage in graph else None
        found += [Line(f"{stage}: {key}", line.values) for line in lines if line.name == key]
    return found


def _confusions(sheets: Sequence[Sheets]) -> list[Confusion]:
    found = []
    for place in _everywhere(sheets, "classify"):
        labels, _ = paired.confusion({(n, *k): i for n, own in enumerate(sheets) for k, i in own[place].items()})
        tables = []
        for own in sheets:
            have, counts = paired.confusion(own[place])
            where = {label: have.index(label) for label in have}
            tables.append(
                [[counts[where[a]][where[b]] if a in where and b in where else 0 for b in labels] for a in labels]
            )
        found.append(Confusion(place[1], labels, tables))
    return found


def _answers(sheets: Sequence[Sheets]) -> list[Answers]:
    """Instructions first; models without pre-training are baselines, whose answers nobody reads."""
    places = [*_everywhere(sheets, "instruct"), *_everywhere(sheets, "classify")]
    told = [Answers(p[0], p[1], paired.asked_of_all(sheets, p[0], p[1])) for p in places]
    return [answers for answers in told if answers.asked and answers.variant not in ("random", "bag_of_words")]


def _everywhere(sheets: Sequence[Sheets], task: str) -> list[tuple[str, str, str]]:
    """The models of a task that every result has validation items of."""
    return [
        place
        for place in sheets[0]
        if place[0] == task and place[2] == paired.DECIDES and all(place in s for s in sheets)
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
