"""A workspace of the whole project with data and a model so small that every stage takes seconds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.params import dump_yaml, read_yaml

ROOT = Path(__file__).resolve().parent.parent
NOUNS = ["cat", "dog", "bird", "fish", "horse", "mouse", "goat", "frog"]
VERBS = ["sees", "finds", "likes", "follows", "hears"]
PLACES = ["by the river", "in the barn", "under the oak", "on the hill"]


def sentences(count: int) -> list[str]:
    return [
        f"The {NOUNS[i % 8]} {VERBS[i % 5]} the {NOUNS[(i * 3 + 1) % 8]} {PLACES[i % 4]}, and it is day {i}."
        for i in range(count)
    ]


def write_own_data(folder: Path) -> None:
    """A text, a table of messages with one exact duplicate, and instructions of two kinds."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_text("\n".join(sentences(160)) + "\n")
    ham = [f"ham\tsee you {PLACES[i % 4]} at {i} with the {NOUNS[i % 8]}" for i in range(40)]
    spam = [f"spam\tWIN a free {NOUNS[i % 8]} now, call {1000 + i}" for i in range(30)]
    (folder / "messages.tsv").write_text("\n".join([*ham, ham[0], *spam]) + "\n")
    entries = [
        {"instruction": "Repeat the word.", "input": f"{noun}{i}", "output": f"{noun}{i}"}
        for i in range(3)
        for noun in NOUNS
    ]
    entries += [{"instruction": f"What is the plural of {noun}?", "input": "", "output": f"{noun}s"} for noun in NOUNS]
    (folder / "instructions.json").write_text(json.dumps(entries))


CHANGES: dict[str, Any] = {
    "runtime.threads": 1,
    "runtime.precision": "float32",
    "runtime.compile": "off",
    "model": {"context_length": 64, "emb_dim": 16, "n_heads": 2, "n_layers": 1, "dropout": 0.1,
              "embedding_std": 0.02, "position_init": "normal", "qkv_bias": True, "tie_embeddings": True},
    "download.text": [{"name": "text.txt", "url": "data/own/text.txt", "sha256": None, "member": None}],
    "download.messages": [{"name": "messages.tsv", "url": "data/own/messages.tsv", "sha256": None, "member": None}],
    "download.instructions": [{"name": "i.json", "url": "data/own/instructions.json", "sha256": None, "member": None}],
    "download.vocabulary": [],
    "tokenize.tokenizer": "trained",
    "tokenize.trained_vocab_size": 300,
    "tokenize.compare_vocab_size": 300,
    "download.world": {"seed": 1, "text_megabytes": 0, "messages": 0, "instructions": 0},
    "tokenize.split": "character",
    "tokenize.train_fraction": 0.9,
    "tokenize.validation_fraction": 0.1,
    "sample.rows": "windows",
    "sample.stride": 32,
    "sample.instructions.split": "shuffled",
    "sample.instructions.train_fraction": 0.6,
    "sample.instructions.validation_fraction": 0.2,
    "pretrain.epochs": 3,
    "pretrain.eval_interval": 20,
    "pretrain.checkpoint_interval": 5,
    "pretrain.sample.max_new_tokens": 4,
    "pretrain.batch_size": 4,
    "pretrain.optimizer": "adamw",
    "pretrain.learning_rate": 1e-3,
    "pretrain.min_learning_rate": 1e-4,
    "lora.batch_size": 8,
    "classify.batch_size": 8,
    "instruct.batch_size": 8,
    "lora.epochs": 1,
    "lora.rank": 2,
    "classify.epochs": 1,
    "instruct.epochs": 1,
    "instruct.template": "phi3",
    "instruct.max_new_tokens": 4,
    "evaluate.bootstrap_resamples": 100,
}  # fmt: skip


EMBEDDED: dict[str, Any] = {
    **CHANGES,
    "model": {**CHANGES["model"], "context_length": 512},
    "download.world": {"seed": 1, "text_megabytes": 0.1, "messages": 80, "instructions": 45},
    "download.text": [],
    "download.messages": [],
    "download.instructions": [],
    "tokenize.split": "document",
    "tokenize.train_fraction": 0.8,
    "tokenize.validation_fraction": 0.1,
    "tokenize.trained_vocab_size": 600,
    "sample.rows": "documents",
    "sample.instructions.split": "given",
    "pretrain.optimizer": "muon",
    "pretrain.epochs": 1,
    "classify.variants": ["pretrained"],
    "instruct.variants": ["pretrained"],
}


def make_workspace(folder: Path, changes: Mapping[str, Any] = CHANGES) -> Path:
    """The project's files as they stand here, in a git repository of their own, with tiny data and parameters."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    write_own_data(folder / "data" / "own")
    set_leaves(folder, changes)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "A tiny workspace"]):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *command], cwd=folder, check=True)
    return folder


def set_leaf(folder: Path, leaf: str, value: Any) -> None:
    set_leaves(folder, {leaf: value})


def set_leaves(folder: Path, changes: Mapping[str, Any]) -> None:
    """Edit params.yaml."""
    params = read_yaml(folder / "params.yaml")
    for path, value in changes.items():
        *sections, leaf = path.split(".")
        place = params
        for section in sections:
            place = place[section]
        place[leaf] = value
    (folder / "params.yaml").write_text(dump_yaml(params))


def environment_of(folder: Path, **more: str) -> dict[str, str]:
    """A home of the workspace's own, and this interpreter's `python` and `dvc`."""
    foreign = ("PREFECT_", "SCRIPTORIUM_", "MLFLOW_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "SCRIPTORIUM_HOME": str(folder / ".scriptorium")} | more


def run(folder: Path, *command: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
    """A command in the workspace, as its user would run it."""
    settings = environment_of(folder, **more)
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, timeout=600)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done
