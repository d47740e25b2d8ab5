"""What a flow run came to: one row a stage, on the terminal, as Prefect's table artifact and in MLflow's parent run.

A stage that DVC skipped or restored has no run of its own: its row links to the run that made those very bytes.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import sync, tracking
from pipeline.files import write_json
from pipeline.fingerprint import digest, locked_inputs, locked_outputs, lookup
from pipeline.graph import StageSpec
from tasks.dvc_repo import lock_entries
from tasks.reproduce import ACCEPTED, CACHED, FAILED, NOT_REACHED, RAN, RESTORED, STOPPED, Outcome

if TYPE_CHECKING:
    from rich.table import Table

COLOURS = {
    RAN: "green",
    CACHED: "dim",
    ACCEPTED: "dim",
    RESTORED: "cyan",
    FAILED: "bold red",
    STOPPED: "yellow",
    NOT_REACHED: "yellow",
}


@dataclass(frozen=True)
class Row:
    """A stage in the closing table. `run_id` is null while MLflow has no run of it; `key` is the run's journal."""

    stage: str
    what: str
    seconds: float
    metric: str = ""
    value: float | int | str | None = None
    run_id: str | None = None
    key: str | None = None
    message: str = ""
    tail: str = ""  # the last lines of a stage that failed
    memory_bytes: float | None = None  # at its peak, of a stage that ran


def summarize(root: Path, graph: Mapping[str, StageSpec], outcomes: Mapping[str, Outcome]) -> list[Row]:
    """A row for each stage, in the graph's order."""
    rows, entries = [], {}
    with contextlib.suppress(ValueError):  # a dvc.lock damaged by a kill: the next flow mends it
        entries = lock_entries(root)
    for name, spec in graph.items():
        outcome = outcomes[name]
        receipt = outcome.receipt
        run_id, key = (receipt.run_id, receipt.key) if receipt is not None else (None, None)
        if run_id is None and key is not None:
            run_id = sync.run_id_of(key)
        if outcome.what in (CACHED, RESTORED, ACCEPTED) and (entry := entries.get(name)):
            run_id = tracking.find_run(name, digest(locked_inputs(entry)), digest(locked_outputs(entry)))
        metric, value = key_metric(root, spec) if outcome.good else ("", None)
        row = Row(name, outcome.what, round(outcome.seconds, 2), metric, value, run_id, key, outcome.message)
        memory = receipt.costs.get("peak_memory_bytes") if receipt is not None else None
        rows.append(replace(row, tail="\n".join(outcome.tail), memory_bytes=memory))
    return rows


def with_run_ids(rows: Sequence[Row]) -> list[Row]:
    """The rows with the runs that MLflow has taken in the meantime."""
    return [replace(row, run_id=row.run_id or (sync.run_id_of(row.key) if row.key else None)) for row in rows]


def key_metric(root: Path, spec: StageSpec) -> tuple[str, Any]:
    """The metric named by `meta.key_metric` in dvc.yaml, with its value in metrics.json; ("", None) if none."""
    file = next((root / out for out in spec.outs if Path(out).name == "metrics.json"), None)
    if spec.key_metric is None or file is None:
        return "", None
    try:
        return spec.key_metric, lookup(json.loads(file.read_text(encoding="utf-8")), spec.key_metric)
    except (OSError, ValueError, KeyError):
        return "", None


def save_rows(file: Path, rows: Sequence[Row]) -> None:
    write_json(file, [asdict(row) for row in rows])


def load_rows(file: Path) -> list[Row]:
    """The rows that `save_rows` wrote; none if it never came to that."""
    try:
        return [Row(**row) for row in json.loads(file.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []


def closing_table(rows: Sequence[Row]) -> Table:
    """The table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table("stage", "what happened", pad_edge=False, box=None, header_style="bold")
    table.add_column("seconds", justify="right")
    table.add_column("memory", justify="right")
    table.add_column("key metric")
    table.add_column("MLflow run", no_wrap=True)
    for row in rows:
        what = Text(row.what, style=COLOURS[row.what])
        run = (row.run_id or "")[:12] or _not_sent(row)
        table.add_row(row.stage, what, _seconds(row), _memory(row), _metric(row), run)
    return table


def publish_artifact(rows: Sequence[Row]) -> None:
    """The same table as an artifact of the running Prefect flow."""
    from prefect.artifacts import create_table_artifact

    table = [
        {
            "stage": row.stage,
            "what happened": row.what,
            "seconds": _seconds(row),
            "memory": _memory(row),
            "key metric": _metric(row),
            "MLflow run": row.run_id or _not_sent(row),
            "message": row.message,
        }
        for row in rows
    ]
    create_table_artifact(table, key="scriptorium-stages", description="What happened to each stage")


def mlflow_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as the parent run keeps them; `run_id` and `key` become links there."""
    return [
        {
            "stage": row.stage,
            "what happened": row.what,
            "seconds": _seconds(row),
            "memory": _memory(row),
            "key metric": _metric(row),
            "run_id": row.run_id,
            "key": row.key,
        }
        for row in rows
    ]


def _seconds(row: Row) -> str:
    return "" if row.what in (CACHED, NOT_REACHED) else f"{row.seconds:.1f}"


def _memory(row: Row) -> str:
    size = row.memory_bytes
    if size is None:
        return ""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _metric(row: Row) -> str:
    return f"{row.metric.replace('_', ' ')} {in_short(row.value)}" if row.value is not None else ""


def in_short(value: Any) -> str:
    """A number for people: four figures, thousands apart."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _not_sent(row: Row) -> str:
    return "not sent yet" if row.key else ""
