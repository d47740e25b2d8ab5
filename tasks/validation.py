"""Every version's score on every validation item: taken from where it was written down, or computed by a process.

Two versions are compared only by scores that the same program made of the same items. The training stages score their
own model; those scores are kept with its run, under the digest of the items. When the champion has none for the present
items, because they changed since, both models are scored again by `serving.rescore`, and that is kept, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipeline.files import md5_path
from pipeline.fingerprint import digest
from tasks.registry import Current, Version, registry, told

FOLDER = "validation"  # of a run's artifacts
STAGES, RESCORED = "stages", "rescored"  # who made the scores
ITEMS = {
    "base": ("data/tokens/validation.bin", "data/tokens/validation.index.npy", "data/tokenizer"),
    "classifier": ("data/samples/messages/validation.jsonl",),
    "assistant": ("data/samples/instructions/validation.jsonl",),
}
RESCORED_WITHIN_S = 1800.0
Rows = list[dict[str, Any]]


def items_digest(root: Path, kind: str) -> str:
    """Stands for the validation items as they lie in the workspace."""
    return digest({path: md5_path(root / path) for path in ITEMS[kind]})


def keep_stage_scores(root: Path, version: Version, model: Current) -> None:
    """Write down what the stages say of the workspace's own model. The base has no item scores of that kind."""
    if version.kind == "base" or _known(version, STAGES, items := items_digest(root, version.kind)) is not None:
        return
    task, score = {"classifier": ("classify", "correct"), "assistant": ("instruct", "exact_match")}[version.kind]
    lines = (root / "reports/evaluate/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [
        {"index": row["index"], "correct": int(row[score])}
        for row in map(json.loads, lines)
        if (row["task"], row["variant"], row["part"]) == (task, model.variant, "validation")
    ]
    if not rows:
        raise ValueError(f"reports/evaluate/predictions.jsonl has no validation items of {version.name}")
    _keep(version, STAGES, items, sorted(rows, key=lambda row: int(row["index"])))


def scores(root: Path, one: Version, other: Version | None = None) -> tuple[Rows, Rows | None, str]:
    """(scores of `one`, those of `other`, in words where they come from), on the workspace's validation items."""
    items = items_digest(root, one.kind)
    wanted = [version for version in (one, other) if version is not None]
    found = [_known(version, STAGES, items) for version in wanted]
    source = "as the stages scored them"
    if any(rows is None for rows in found):
        source = "scored again on the present items" if other is not None else "scored on the present items"
        found = [_known(version, RESCORED, items) or _rescored(root, version, items) for version in wanted]
    rows = [each for each in found if each is not None]
    return rows[0], (rows[1] if other is not None else None), source


def _rescored(root: Path, version: Version, items: str) -> Rows:
    """The version's own folders, fetched from MLflow, given to `serving.rescore`. ValueError says what it said."""
    import mlflow

    with tempfile.TemporaryDirectory() as scratch, told():
        registry()
        place = Path(mlflow.artifacts.download_artifacts(f"models:/{version.model_id}", dst_path=scratch)) / "artifacts"
        out = Path(scratch) / "scores.jsonl"
        command = [sys.executable, "-m", "serving.rescore", version.kind, str(out), "--workspace", str(root)]
        for name in ("model", "tokenizer", "base"):
            command += [f"--{name}", str(place / name)] if (place / name).is_dir() else []
        where = Path(__file__).resolve().parent.parent
        done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=RESCORED_WITHIN_S)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise ValueError(f"{version} could not be scored: {last.removeprefix('error: ')}")
        rows = _parsed(out.read_text(encoding="utf-8"))
    _keep(version, RESCORED, items, rows)
    return rows


def _known(version: Version, source: str, items: str) -> Rows | None:
    """Scores that were kept; None when there are none."""
    server = registry()
    name = _file(version, source, items)
    with told():
        if name not in {each.path for each in server.client.list_artifacts(version.run_id, FOLDER)}:
            return None
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(server.client.download_artifacts(version.run_id, name, scratch))
            return _parsed(file.read_text(encoding="utf-8"))


def _keep(version: Version, source: str, items: str, rows: Rows) -> None:
    text = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    with told():
        registry().client.log_text(version.run_id, text, _file(version, source, items))


def _file(version: Version, source: str, items: str) -> str:
    return f"{FOLDER}/{version.short}-{source}-{version.digest[:16]}-{items[:16]}.jsonl"


def _parsed(text: str) -> Rows:
    return [json.loads(line) for line in text.splitlines()]
