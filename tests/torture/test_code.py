"""Every code file behind a stage: an edit makes stale what imports it and nothing else; a comment makes nothing run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import syntax
from pipeline.graph import load_graph
from pipeline.imports import INPUTS
from tasks.plan import COMMENTS, MAY_RUN, RUN, Plan, make_plan
from tests.reads import behind
from tests.tiny import ROOT, environment_of

pytestmark = pytest.mark.torture
Figures = Callable[[str, object], None]

# torch is imported once; each stage is imported in a process of its own
LOADED = f"""
import importlib, os, sys, torch
for name in sys.argv[1:]:
    if (child := os.fork()) == 0:
        importlib.import_module("stages." + name)
        ours = [module.replace(".", "/") + ".py" for module in sys.modules if module.split(".")[0] in {INPUTS}]
        print(name, *sorted(ours), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def named(plan: Plan, action: str) -> set[str]:
    return {stage.name for stage in plan.stages if stage.action == action}


def test_an_edit_of_a_code_file_reaches_the_stages_that_import_it(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: Figures
) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "workspace", symlinks=True))
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(folder / ".scriptorium"))
    monkeypatch.chdir(folder)
    graph = load_graph(folder)
    readers: dict[str, set[str]] = {}
    for name, spec in graph.items():
        for dep in spec.deps:
            if dep.endswith(".py"):
                readers.setdefault(dep, set()).add(name)
    syntax.remember(folder / dep for dep in readers)
    texts = {dep: (folder / dep).read_text() for dep in readers}
    for dep, text in texts.items():
        (folder / dep).write_text(f"# a comment\n{text}")
    plan = make_plan(folder)
    assert named(plan, COMMENTS) == set(graph) and plan.nothing_to_do
    for stage in plan.stages:
        edited = sorted(dep for dep, stages in readers.items() if stage.name in stages)
        more = f" and {len(edited) - 3} more"
        assert stage.reasons == (f"only comments changed in {', '.join(edited[:3])}{more}",)
    for dep, text in texts.items():
        (folder / dep).write_text(text)
    for dep, stages in readers.items():
        text = texts[dep]
        (folder / dep).write_text(text + "\nUNUSED = 1\n")
        plan = make_plan(folder)
        assert named(plan, RUN) == stages and named(plan, MAY_RUN) == behind(folder, stages), dep
        assert all(s.reasons == (f"{dep} changed",) for s in plan.stages if s.action == RUN)
        (folder / dep).write_text(text)
    assert make_plan(folder).nothing_to_do
    assert "gpt/lora.py" in readers and "pretrain" not in readers["gpt/lora.py"]
    figures("code files edited, each made stale what imports it, and nothing with a comment", len(readers))


def test_what_a_stage_loads_is_listed() -> None:
    """Python itself says it: the closure that dvc.yaml is held against comes from reading the imports."""
    graph = load_graph(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *graph], cwd=ROOT, env=environment_of(ROOT), capture_output=True, text=True
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == list(graph), done.stderr
    for name, *loaded in lines:
        files = {file for file in loaded if (ROOT / file).is_file()}
        assert f"stages/{name}.py" in files and files <= set(graph[name].deps), name
