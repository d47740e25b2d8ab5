"""Between a stage's last write and DVC's commit: a kill loses no finished result, and none is computed twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import journal, kept, paths
from pipeline.files import remove_tree
from pipeline.fingerprint import digest, inputs_of, outputs_of
from pipeline.graph import load_graph

ROOT = Path(__file__).resolve().parents[2]
DVC_YAML = """
stages:
  toy:
    cmd: python toy.py
    params: [seed]
    deps: [input.txt]
    outs: [models/toy]
    metrics: [reports/toy/metrics.json]
"""
TOY = """
import sys
from pathlib import Path
from pipeline.stage import run

def main(stage):
    with Path("made").open("a") as file:
        file.write("once\\n")
    stage.out("models/toy").mkdir()
    (stage.out("models/toy") / "weights").write_bytes(Path("input.txt").read_bytes() * (1 << 18))
    stage.log_metrics({"loss": 0.5}, 1)
    stage.write_metrics({"loss": 0.5})

sys.exit(run("toy", main))
"""
OUTS = ("models/toy", "reports/toy/metrics.json")


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SCRIPTORIUM_HOME", "SCRIPTORIUM_PARENT", "SCRIPTORIUM_FAULT", "RANK"):
        monkeypatch.delenv(name, raising=False)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    Path("dvc.yaml").write_text(DVC_YAML)
    Path("input.txt").write_text("in put")
    Path("toy.py").write_text(TOY)


def life(fault: str = "") -> subprocess.CompletedProcess[str]:
    """The stage, as DVC starts it: its outputs are gone."""
    for out in OUTS:
        remove_tree(out)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SCRIPTORIUM_SYNC": "0", "SCRIPTORIUM_FAULT": fault}
    return subprocess.run([sys.executable, "toy.py"], capture_output=True, text=True, env=environment)


def record(outputs: dict[str, str], inputs: str) -> None:
    """What DVC writes when it commits, of inputs that digest to anything."""
    lines = ["schema: '2.0'", "stages:", "  toy:", "    cmd: python toy.py", "    deps:"]
    lines += ["    - path: input.txt", f"      md5: {inputs}", "    params:", "      params.yaml:", "        seed: 123"]
    lines += ["    outs:"] + [
        line for path, md5 in outputs.items() for line in (f"    - path: {path}", f"      md5: {md5}")
    ]
    Path("dvc.lock").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("point", "computed"), [("before keeping", 2), ("after keeping", 1), ("after publishing", 1), ("ended", 1)]
)
def test_killed_after_the_last_write(point: str, computed: int) -> None:
    assert life(f"{point}:1").returncode == -9
    again = life()
    assert (again.returncode, again.stderr) == (0, "")
    assert Path("made").read_text().count("once") == computed
    assert ("taken from the result that was kept aside" in again.stdout) == (computed == 1)
    assert Path("models/toy/weights").read_bytes() == b"in put" * (1 << 18)
    (key,) = journal.known()
    found = [event for event, _ in journal.events(key)]
    assert sum(event["type"] == "metrics" and "loss" in event["values"] for event in found) == 1
    assert [event["status"] for event in found if event["type"] == "end"] == ["FINISHED"]
    assert not paths.staging("toy").exists()


def test_kept_until_dvc_has_it_and_no_longer() -> None:
    assert life().returncode == 0
    spec = load_graph()["toy"]
    inputs = inputs_of(spec)
    kept.prune("toy")
    assert paths.kept("toy").exists(), "dvc.lock does not exist"
    record(outputs_of(spec), "0" * 32)
    kept.prune("toy")
    assert paths.kept("toy").exists(), "dvc.lock names the result of other inputs"
    record(outputs_of(spec), inputs["deps"]["input.txt"])
    assert digest(kept.locked_inputs(kept.locked("toy"))) == digest(inputs)
    kept.prune("toy")
    assert not paths.kept("toy").exists()


def test_what_dvc_has_and_is_forced_is_made_again() -> None:
    """`dvc repro --force` means it."""
    assert life().returncode == 0
    spec = load_graph()["toy"]
    record(outputs_of(spec), inputs_of(spec)["deps"]["input.txt"])
    assert life().returncode == 0
    assert Path("made").read_text().count("once") == 2


def test_a_kept_result_that_was_damaged_or_is_of_other_inputs_is_not_taken() -> None:
    assert life().returncode == 0
    (paths.kept("toy") / "models" / "toy" / "weights").write_bytes(b"damaged")
    assert life().returncode == 0
    assert Path("made").read_text().count("once") == 2
    Path("input.txt").write_text("other")
    assert life().returncode == 0
    assert Path("made").read_text().count("once") == 3
    assert Path("models/toy/weights").read_bytes().startswith(b"other")
