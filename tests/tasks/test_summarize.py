"""The closing table tells what happened, with the key metric and the run behind it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from pipeline import ledger
from pipeline.files import write_json
from pipeline.fingerprint import digest, locked_inputs, locked_outputs
from pipeline.graph import load_graph
from pipeline.receipt import Receipt
from tasks.dvc_repo import lock_entries
from tasks.reproduce import Outcome
from tasks.summarize import (
    Row,
    closing_table,
    in_short,
    key_metric,
    load_rows,
    mlflow_rows,
    save_rows,
    summarize,
    with_run_ids,
)


def test_rows_in_order_with_the_runs_that_made_the_bytes(done: Path) -> None:
    graph = load_graph(done)
    entry = lock_entries(done)["left"]
    made = {"inputs": digest(locked_inputs(entry)), "outputs": digest(locked_outputs(entry))}
    ledger.append({"stage": "left", **made, "key": "left-1", "run_id": "run-of-left"})
    costs = {"peak_memory_bytes": 1.36e9}
    ran = Receipt("root", "executed", run_id="run-of-root", key="root-1", costs=costs)
    outcomes = {
        "root": Outcome("root", "ran", 2.5, receipt=ran),
        "left": Outcome("left", "cached", 0.05),
        "right": Outcome("right", "failed", 1.0, message="no luck", tail=("one", "two")),
        "join": Outcome("join", "not reached", message="needs right"),
    }
    rows = summarize(done, graph, outcomes)
    assert [(row.stage, row.what, row.run_id) for row in rows] == [
        ("root", "ran", "run-of-root"),
        ("left", "cached", "run-of-left"),
        ("right", "failed", None),
        ("join", "not reached", None),
    ]
    assert [row.tail for row in rows] == ["", "", "one\ntwo", ""]
    save_rows(done / "rows.json", rows)
    assert load_rows(done / "rows.json") == rows and load_rows(done / "missing.json") == []
    first = mlflow_rows(rows)[0]
    assert (first["run_id"], first["key"], first["seconds"]) == ("run-of-root", "root-1", "2.5")
    assert [row["memory"] for row in mlflow_rows(rows)] == ["1.4 GB", "", "", ""]


def test_runs_that_were_sent_since_are_named_afterwards(done: Path) -> None:
    rows = [
        Row("root", "ran", 1, key="root-1"),
        Row("left", "ran", 1, run_id="known", key="left-1"),
        Row("join", "", 0),
    ]
    assert with_run_ids(rows) == rows
    for key in ("root-1", "left-1"):
        ledger.append({"stage": key, "inputs": "i", "outputs": "o", "key": key, "run_id": f"run-of-{key}"})
    assert [row.run_id for row in with_run_ids(rows)] == ["run-of-root-1", "known", None]


def test_the_key_metric_is_the_one_named_in_dvc_yaml(done: Path) -> None:
    spec = replace(load_graph(done)["root"], outs=("out/metrics.json",), meta={"key_metric": "test.loss"})
    assert key_metric(done, spec) == ("", None)
    write_json(done / "out" / "metrics.json", {"test": {"loss": 2.5}, "other": 1})
    assert key_metric(done, spec) == ("test.loss", 2.5)
    assert key_metric(done, replace(spec, meta={})) == ("", None)


def test_the_table_shows_it_all() -> None:
    rows = [
        Row(
            "pretrain", "ran", 61.25, "validation_loss", 3.14159, "0123456789abcdef", "pretrain-1", memory_bytes=1.44e9
        ),
        Row("lora", "cached", 0.1, "steps", 1200),
        Row("classify", "ran", 5.0, key="classify-1", memory_bytes=350e6),
    ]
    console = Console(width=100)
    with console.capture() as shown:
        console.print(closing_table(rows))
    lines = [line.split() for line in shown.get().splitlines()]
    assert lines == [
        ["stage", "what", "happened", "seconds", "memory", "key", "metric", "MLflow", "run"],
        ["pretrain", "ran", "61.2", "1.4", "GB", "validation", "loss", "3.142", "0123456789ab"],
        ["lora", "cached", "steps", "1,200"],
        ["classify", "ran", "5.0", "350", "MB", "not", "sent", "yet"],
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.00012345, "0.0001234"), (12345.6, "12,346"), (1234567, "1,234,567"), ("x", "x")],
)
def test_numbers_are_shown_in_short(value: object, shown: str) -> None:
    assert in_short(value) == shown
