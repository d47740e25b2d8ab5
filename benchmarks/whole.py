"""A full run's time beside its stages' useful seconds, read from the newest run in which every stage ran.

Useful is what a stage's own `main` took. Around it lie imports, hashing, DVC, Prefect, MLflow. Nothing is run here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import Times
from benchmarks.table import Goal, Row
from benchmarks.topics import Options
from pipeline import paths
from pipeline.graph import load_graph
from pipeline.receipt import read_receipt
from pipeline.store import Store, tracking_uri

RAN = "ran"


def full_runs(home: Path, stages: set[str]) -> list[Path]:
    """The folders of flow runs in which every stage ran, the newest first."""
    found = sorted((home / "flows").glob("*/rows.json"), key=lambda file: -file.stat().st_mtime)
    return [file.parent for file in found if {row["stage"] for row in lines(file) if row["what"] == RAN} >= stages]


def lines(file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return rows


def useful(folder: Path, stages: set[str]) -> dict[str, float]:
    """Seconds in each stage's own work."""
    receipts = {stage: read_receipt(folder / f"{stage}.receipt.json") for stage in stages}
    return {stage: receipt.costs["seconds"] for stage, receipt in receipts.items() if receipt is not None}


def rows(options: Options) -> Iterator[Row]:
    stages = set(load_graph())
    runs = full_runs(paths.home(), stages)
    if not runs:
        raise ValueError("no run is kept in which every stage ran: this benchmark reads what a first `make run` leaves")
    seconds = useful(runs[0], stages)
    found = Store(tracking_uri())
    child = found.client.get_run(lines(runs[0] / "rows.json")[0]["run_id"])
    parent = found.client.get_run(child.data.tags["mlflow.parentRunId"])
    whole = Times((parent.data.metrics["seconds"],))
    parts = ", ".join(f"{stage} {value:.0f} s" for stage, value in sorted(seconds.items(), key=lambda item: -item[1]))
    note = f"{parts}; parallel: {parent.data.params['parallel']}"
    total = Times((sum(seconds.values()),))
    yield Row("make run, all stages", whole, "its stages' useful seconds", total, Goal(1.1, at_most=True), note)
