"""The house stays as drawn: who may import whom, and what dvc.yaml must list for every stage."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pipeline.graph import load_graph
from pipeline.imports import INPUTS, closure, imported_modules

ROOT = Path(__file__).resolve().parent.parent
OURS = {"corpus", "flows", "gpt", "pipeline", "serving", "stages", "tasks"}
ALLOWED = {
    "corpus": {"corpus"},
    "gpt": {"gpt"},
    "pipeline": {"pipeline"},
    "serving": {"serving", "corpus", "gpt", "pipeline"},
    "stages": {"stages", "corpus", "gpt", "pipeline"},
    "tasks": {"tasks", "pipeline"},
    "flows": {"flows", "tasks", "pipeline"},
}
WITHOUT_TORCH = {"corpus", "pipeline", "tasks", "flows"}
ENGINES = {"dvc", "prefect", "mlflow", "ruamel", "yaml"}


@pytest.mark.parametrize("package", sorted(OURS))
def test_imports_point_down_only(package):
    for file in sorted((ROOT / package).rglob("*.py")):
        tops = {name.split(".")[0] for name in imported_modules(file)}
        assert tops & OURS <= ALLOWED[package], f"{file} imports {sorted(tops & OURS - ALLOWED[package])}"
        if package in WITHOUT_TORCH:
            assert "torch" not in tops, f"{file} imports torch"
        if package in {"gpt", "corpus"}:
            assert not tops & ENGINES, f"{file} knows of {sorted(tops & ENGINES)}"


def test_only_one_module_touches_dvcs_python_api():
    users = {
        file.relative_to(ROOT).as_posix()
        for package in OURS
        for file in (ROOT / package).rglob("*.py")
        if any(name.split(".")[0] == "dvc" for name in imported_modules(file))
    }
    assert users == {"tasks/dvc_repo.py"}


def test_package_files_hold_no_code():
    for package in OURS:
        tree = ast.parse((ROOT / package / "__init__.py").read_text())
        assert all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in tree.body)


@pytest.mark.parametrize("stage", sorted(load_graph(ROOT)))
def test_dvc_yaml_lists_exactly_the_code_a_stage_imports(stage):
    spec = load_graph(ROOT)[stage]
    listed = sorted(path for path in spec.deps if path.split("/")[0] in INPUTS)
    assert listed == closure(f"stages.{stage}", ROOT)


def test_files_hold_one_idea():
    long = {
        str(file.relative_to(ROOT)): lines
        for package in OURS
        for file in (ROOT / package).rglob("*.py")
        if (lines := len(file.read_text().splitlines())) > 400
    }
    assert not long
