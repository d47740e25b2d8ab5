"""A repository in which a trial takes a second or two: the project's own params.yaml, and stages of a few lines.

`tokenize` is common to all trials; `pretrain` "trains" by arithmetic, reports its evaluations as a real training does
and leaves checkpoints; `lora` is a second parameter's stage. Every execution leaves a line in HOME/executed.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.tasks.tiny_repo import make_repo, python, run, write_yaml

PROJECT = Path(__file__).resolve().parents[2]
SHARED = """
import os, sys, time
from pathlib import Path
home = Path(os.environ["SCRIPTORIUM_HOME"])
with (home / "executed").open("a") as out:
    out.write(f"tokenize {Path.cwd()}\\n")
time.sleep(float(os.environ.get("TINY_SLOW", "0")))
Path("tokens.txt").write_text("1000")
"""
TRAIN = """
import json, os, sys, time, zlib
from pathlib import Path
from ruamel.yaml import YAML
name, *sources = sys.argv[1:]
params = YAML(typ="safe").load(Path("params.yaml").read_text())
rate, home = params[name]["learning_rate"], Path(os.environ["SCRIPTORIUM_HOME"])
if rate > 0.5:
    receipt = {"stage": name, "status": "failed", "kind": "numeric", "message": f"diverged at a rate of {rate}"}
    Path(os.environ["SCRIPTORIUM_RECEIPT"]).write_text(json.dumps(receipt))
    sys.exit(1)
sources = "".join(Path(source).read_text() for source in sources)
kept = home / f"{name}-{rate}-{zlib.crc32(sources.encode())}.checkpoint"
begin = int(kept.read_text()) if kept.exists() else 0
with (home / "executed").open("a") as out:
    out.write(f"{name} {rate} from step {begin}\\n")
for step in range(begin, 4):
    loss = abs(rate - 0.01) * 100 + 1 / (step + 1)
    with open(os.environ["SCRIPTORIUM_PROGRESS"], "a") as out:
        out.write(json.dumps({"evaluated": {"validation_loss": loss}, "step": 10 * step}) + "\\n")
    if (home / "wait").exists():
        (home / "waiting").touch()
        while (home / "wait").exists():
            time.sleep(0.05)
    time.sleep(float(os.environ.get("TINY_PAUSE", "0")))
    kept.write_text(str(step + 1))
kept.unlink()
Path(f"reports/{name}").mkdir(parents=True, exist_ok=True)
Path(f"reports/{name}/metrics.json").write_text(json.dumps({"validation_loss": loss, "test_loss": loss, "none": None}))
"""


def make_sweep_repo(root: Path) -> Path:
    """A git and DVC repository with one commit, in which nothing has run."""

    def trained(name: str, *sources: str) -> dict[str, Any]:
        leaves = [f"{name}.learning_rate", "runtime" if name == "pretrain" else "lora.rank"]
        metrics = f"reports/{name}/metrics.json"
        deps = ["train.py", *sources]
        return {"cmd": python("train", name), "deps": deps, "params": leaves, "metrics": [metrics]}

    stages = {
        "tokenize": {"cmd": python("shared"), "deps": ["shared.py"], "params": ["tokenize"], "outs": ["tokens.txt"]},
        "pretrain": trained("pretrain", "tokens.txt"),
        "lora": trained("lora", "reports/pretrain/metrics.json"),
    }
    make_repo(root, stages, {}, {"shared": SHARED, "train": TRAIN})
    shutil.copyfile(PROJECT / "params.yaml", root / "params.yaml")
    (root / ".gitignore").write_text("/.dvc/site\n/tokens.txt\n/reports\n/home\n")
    run(root, "git", "add", "-A")
    run(root, "git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "A tiny sweep")
    return root


SWEEP: dict[str, Any] = {
    "sampler": "grid",
    "seed": 1,
    "parameters": {"pretrain.learning_rate": [0.03, 0.01, 0.02]},
    "objective": {"stage": "pretrain", "metric": "validation_loss", "direction": "minimize"},
}


def write_sweep(root: Path, name: str = "rates", **changes: Any) -> Path:
    """ROOT/NAME.yaml: the grid above with some of its entries changed."""
    file = root / f"{name}.yaml"
    write_yaml(file, {**SWEEP, **changes})
    return file


def executed(home: Path) -> list[str]:
    file = home / "executed"
    return file.read_text().splitlines() if file.exists() else []


def counted(lines: list[str]) -> Mapping[str, int]:
    names = [line.split()[0] for line in lines]
    return {name: names.count(name) for name in names}
