"""Runs the stages of the whole project on tiny data, in this process, with parameters that note what is read.

In this process: torch is imported once and not eight times a configuration, and the program needs no hook for it. A
stage's `main` is called as `pipeline.stage.run` calls it, without locks and record, which read no parameter.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from pipeline.files import remove_tree
from pipeline.graph import load_graph
from pipeline.outputs import publish
from pipeline.params import load_params
from pipeline.recording import leaves_of, recording
from pipeline.schema import Params
from pipeline.signals import Stopper
from pipeline.stage import Stage
from tests.tiny import CHANGES, make_workspace, run

# One configuration in which every leaf is read: files of one's own beside a part of the world, and adapters everywhere.
EVERYTHING: dict[str, Any] = {
    **CHANGES,
    "download.world": {"seed": 1, "text_megabytes": 0, "messages": 0, "instructions": 15},
    "instruct.tuning": "lora",
}


def declared(folder: Path) -> dict[str, set[str]]:
    """Stage → the leaves that dvc.yaml says it reads."""
    leaves = leaves_of()
    return {
        name: {leaf for leaf in leaves for given in spec.params if f"{leaf}.".startswith(f"{given}.")}
        for name, spec in load_graph(folder).items()
    }


def reads(folder: Path, changes: Mapping[str, Any]) -> dict[str, set[str]]:
    """Stage → the leaves that it reads, of a new workspace with these changes, in which every stage has run then."""
    make_workspace(folder, changes)
    return {name: run_stage(folder, name) for name in load_graph(folder)}


def run_stage(folder: Path, name: str) -> set[str]:
    """The leaves that one stage reads; its outputs lie in the workspace afterwards."""
    seen: set[str] = set()
    with chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRIPTORIUM_HOME", str(folder / ".scriptorium"))
        spec = load_graph()[name]
        for place in (*spec.outs, ".scriptorium/checkpoints"):  # it shall compute, not go on from another run
            remove_tree(place)
        view: Params = recording(load_params(), seen)
        stage = Stage(name, view, spec, {}, Stopper())
        importlib.import_module(f"stages.{name}").main(stage)
        publish(spec.outs, stage.staging, Path())
    return seen


def explained(found: Mapping[str, set[str]], said: Mapping[str, set[str]]) -> Iterator[str]:
    """A line for each leaf that a stage reads undeclared, or declares and never reads."""
    for stage, leaves in said.items():
        yield from (f"{stage} reads {leaf}, dvc.yaml does not say so" for leaf in sorted(found[stage] - leaves))
        yield from (f"{stage} declares {leaf} and never reads it" for leaf in sorted(leaves - found[stage]))


def record_all(folder: Path) -> Path:
    """Every stage runs in this process, and DVC records what came of it."""
    for name in load_graph(folder):
        run_stage(folder, name)
        run(folder, "dvc", "commit", "--force", name)
    return folder


def behind(folder: Path, stages: set[str]) -> set[str]:
    """The stages that read, directly or not, what these write."""
    found: set[str] = set()
    for name, spec in load_graph(folder).items():  # each after those that it reads from
        if set(spec.upstream) & (stages | found):
            found.add(name)
    return found - stages
