"""The record: after whatever mixture of commands, every model leads to the newest run that made exactly its bytes.

Real git, DVC, Prefect and MLflow; the models are a few bytes. What truly happened the stages write down themselves,
beside the record that is tested: which bytes a run made, from which texts and numbers.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from pipeline import tracking
from pipeline.fingerprint import digest, locked_inputs, locked_outputs
from pipeline.params import dump_yaml, read_yaml
from tasks.dvc_repo import lock_entries
from tasks.summarize import Row, load_rows
from tests.tiny import ROOT, run

pytestmark = pytest.mark.torture
SEED, OPERATIONS = 5, 40
LEAVES = {"base": "pretrain.epochs", "lora": "lora.rank", "classifier": "classify.epochs", "assistant": "seed"}
FLOW = "import sys; from flows.train import main; sys.exit(main(sys.argv[1:], check=lambda: None))"

# halved, so that different inputs often make the same bytes, and the wave of reruns ends there
WORK = '''
"""A model of a few bytes."""
import json, os, sys
from pathlib import Path
from pipeline.fingerprint import lookup
from pipeline.stage import run
from ruamel.yaml import YAML

NAME, LEAF, SOURCE = sys.argv[1:]

def main(stage):
    number = lookup(YAML(typ="safe").load(Path("params.yaml").read_text()), LEAF)
    before = Path(SOURCE).read_text()
    made = f"{number // 2} {len(before.split())}"
    stage.out(f"models/{NAME}").mkdir()
    stage.out(f"models/{NAME}/weights").write_text(made)
    stage.log_metrics({"loss": 1.0}, 1)
    told = {"key": stage.journal.key, "stage": NAME, "inputs": [number, before, Path("work.py").read_text()],
            "made": made}
    with open(os.environ["SCRIPTORIUM_HOME"] + "/truth.jsonl", "a") as file:
        file.write(json.dumps(told) + "\\n")

sys.exit(run(NAME, main))
'''


class World:
    """The workspace, and everything that a person may do in it."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.chance = folder, chance
        self.home = folder / ".scriptorium"
        self.commits: list[str] = []
        self.flows: list[str] = []
        self.counts = {"models": 0, "links": 0}

    def run(self, *command: str, sync: bool = False) -> str:
        settings = {"PYTHONPATH": str(ROOT), "SCRIPTORIUM_SYNC": "1" if sync else "0"}
        return run(self.folder, *command, **settings).stdout

    def git(self, *arguments: str) -> str:
        return self.run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", *arguments)

    # --- edits ---

    def number(self) -> tuple[str, int]:
        return self.chance.choice(sorted(LEAVES.values())), self.chance.randint(1, 4)

    def edit(self) -> None:
        what = self.chance.choice(["number", "number", "comment", "data", "nothing", "output"])
        if what == "number":
            leaf, value = self.number()
            tree = read_yaml(self.folder / "params.yaml")
            *sections, name = leaf.split(".")
            (tree[sections[0]] if sections else tree)[name] = value
            (self.folder / "params.yaml").write_text(dump_yaml(tree))
        elif what == "comment":
            code = (self.folder / "work.py").read_text().split("# ")[0]
            (self.folder / "work.py").write_text(f"{code}# {self.chance.randint(1, 3)}\n")
        elif what == "data":
            (self.folder / "data.txt").write_text(self.chance.choice(["a b\n", "a  b\n", "a b c\n"]))
        elif what == "output":
            shutil.rmtree(self.folder / "models" / self.chance.choice(sorted(LEAVES)), ignore_errors=True)

    # --- commands ---

    def repro(self) -> None:
        self.edit()
        self.run("dvc", "repro", sync=self.chance.random() < 0.2)

    def flow(self) -> None:
        self.edit()
        before = [entry["key"] for entry in self.truth() if self.run_of(entry["key"])]
        self.run("python", "-c", FLOW, "--parallel", "2", sync=self.chance.random() < 0.7)
        (newest,) = {path.name for path in (self.home / "flows").iterdir()} - set(self.flows)
        self.flows.append(newest)
        self.check_rows(load_rows(self.home / "flows" / newest / "rows.json"), before)

    def experiment(self) -> None:
        leaf, value = self.number()
        name = f"e{self.chance.getrandbits(40):x}"
        self.commit()
        if self.chance.random() < 0.5:
            self.run("dvc", "exp", "run", "-S", f"{leaf}={value}", "-n", name)
        else:
            self.run("dvc", "exp", "run", "--temp", "-S", f"{leaf}={value}", "-n", name)
            self.run("dvc", "exp", "apply", name)

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-qm", "as it is", "--allow-empty")
        self.commits.append(self.git("rev-parse", "HEAD").strip())

    def old_commit(self) -> None:
        self.commit()
        self.git("checkout", "-q", self.chance.choice(self.commits))
        self.run("dvc", "checkout", "--force")
        if self.chance.random() < 0.5:
            self.run("dvc", "repro")

    def send(self) -> None:
        self.run("python", "-m", "pipeline.sync")

    # --- what must hold ---

    def truth(self) -> list[dict[str, Any]]:
        file = self.home / "truth.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def run_of(self, key: str) -> str | None:
        from pipeline.store import store, tracking_uri

        return store(tracking_uri()).find({"scriptorium.key": key})

    def makers(self, stage: str) -> list[dict[str, Any]]:
        """The runs that made what lies in models/STAGE now, oldest first; of the inputs as they are, where any are."""
        made = (self.folder / "models" / stage / "weights").read_text()
        found = [entry for entry in self.truth() if (entry["stage"], entry["made"]) == (stage, made)]
        source = "data.txt" if stage == "base" else "models/base/weights"
        tree: Any = read_yaml(self.folder / "params.yaml")
        for part in LEAVES[stage].split("."):
            tree = tree[part]
        now = [tree, (self.folder / source).read_text(), (self.folder / "work.py").read_text()]
        return [entry for entry in found if entry["inputs"] == now] or found

    def check_models(self) -> None:
        entries = lock_entries(self.folder)
        for stage in LEAVES:
            entry = entries[stage]
            found = tracking.find_run(stage, digest(locked_inputs(entry)), digest(locked_outputs(entry)))
            sent = [run for maker in self.makers(stage) if (run := self.run_of(maker["key"]))]
            assert sent and found == sent[-1], f"{stage}: {found}, of {sent}"
            self.counts["models"] += 1

    def check_rows(self, rows: list[Row], before: list[str]) -> None:
        """A row links to the newest run that MLflow had, or, as it is sent in the meantime, to the newest there is."""
        assert [row.stage for row in rows] == list(LEAVES)
        for row in rows:
            if row.what == "ran":
                newest = [entry for entry in self.truth() if entry["stage"] == row.stage][-1]
                assert row.key == newest["key"] and row.run_id in (None, self.run_of(newest["key"]))
                continue
            makers = [maker["key"] for maker in self.makers(row.stage)]
            allowed = {self.run_of(key) for key in [*makers[-1:], *[key for key in makers if key in before][-1:]]}
            every = [e["key"] for e in self.truth() if e["stage"] == row.stage and e["key"] in before]
            if not allowed - {None}:  # none of them was sent: of other inputs, or nothing
                allowed |= {self.run_of(key) for key in every}
            assert row.run_id in allowed | {None}, row
            assert row.run_id is not None or not [key for key in makers if key in before], row
            self.counts["links"] += row.run_id is not None

    def check_summaries(self) -> None:
        """What MLflow shows of each flow names, stage by stage, the run of its row."""
        from pipeline.store import store, tracking_uri

        client = store(tracking_uri()).client
        for flow in self.flows:
            parent = store(tracking_uri()).find({"prefect.flow_run": flow})
            rows = load_rows(self.home / "flows" / flow / "rows.json")
            if parent is None:  # there was nothing to do: no run of its own
                assert all(row.what in ("cached", "comments only") for row in rows)
                continue
            note = client.get_run(parent).data.tags["mlflow.note.content"]
            links = dict(re.findall(r"^\| (\w+) \|.*/runs/(\w+)\) \|$", note, re.MULTILINE))
            wanted = {row.stage: row.run_id or (self.run_of(row.key) if row.key else None) for row in rows}
            assert links == {stage: found for stage, found in wanted.items() if found}
            self.counts["links"] += len(links)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    folder = tmp_path / "workspace"
    folder.mkdir()
    shutil.copy(ROOT / "params.yaml", folder)
    (folder / "work.py").write_text(dedent(WORK).lstrip())
    (folder / "data.txt").write_text("a b\n")
    (folder / ".gitignore").write_text("/models\n/.scriptorium\n__pycache__\n")
    stages = {}
    for name, leaf in LEAVES.items():
        source = "data.txt" if name == "base" else "models/base/weights"
        dep = "data.txt" if name == "base" else "models/base"
        stages[name] = {
            "cmd": f"python work.py {name} {leaf} {source}", "params": [leaf],
            "deps": ["work.py", dep], "outs": [f"models/{name}"],
        }  # fmt: skip
    (folder / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    made = World(folder, random.Random(SEED))
    made.home.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(made.home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    made.git("init", "-q")
    made.run("dvc", "init", "--quiet")
    for key, value in (("analytics", "false"), ("check_update", "false"), ("site_cache_dir", str(tmp_path / "site"))):
        made.run("dvc", "config", f"core.{key}", value)
    made.run("dvc", "repro")
    made.commit()
    made.send()
    yield made
    made.run("python", "-m", "flows.services", "stop")


def test_every_model_leads_to_the_newest_run_that_made_it(world: World, figures: Callable[[str, object], None]) -> None:
    operations = [world.repro, world.flow, world.experiment, world.commit, world.old_commit, world.send]
    weights = [10, 7, 4, 2, 4, 3]
    done: list[str] = []
    for number in range(OPERATIONS):
        (operation,) = world.chance.choices(operations, weights)
        operation()
        done.append(operation.__name__)
        if number % 4 == 3 or operation == world.old_commit:
            if operation in (world.experiment, world.commit):  # its edits may be newer than its results
                world.run("dvc", "repro")
            world.send()
            world.check_models()
    world.send()
    world.check_summaries()
    mixed = ", ".join(f"{done.count(name)} {name.replace('_', ' ')}" for name in sorted(set(done)))
    figures(f"links of {world.counts['models']} models and {world.counts['links']} table rows right after", mixed)
    assert {"repro", "flow", "experiment", "old_commit"} <= set(done)
