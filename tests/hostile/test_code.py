"""What the code may not contain, found in its syntax trees: nothing that runs what it reads, no shell, no open door."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "yaml"}
CALLS = {
    "os.system", "os.popen", "os.execl", "os.spawnl", "os.spawnv", "subprocess.getoutput", "subprocess.getstatusoutput",
    "torch.load", "torch.save", "torch.jit.load", "torch.package.PackageImporter",
    "pandas.read_pickle", "pd.read_pickle",
    "pickle.load", "pickle.loads", "yaml.load", "eval",
}  # fmt: skip
METHODS = {"to_pickle", "read_pickle", "create_subprocess_shell"}
RUNNERS = {"run", "Popen", "call", "check_call", "check_output"}


def files() -> list[Path]:
    """Every Python file of the repository, tests and all."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def keyword(call: ast.Call, name: str) -> object:
    """A keyword's constant value, "…" where it is computed, None where it isn't given."""
    for given in call.keywords:
        if given.arg == name:
            return given.value.value if isinstance(given.value, ast.Constant) else "…"
    return None


def refused(source: str) -> Iterator[str]:
    """What stands in a file that may not."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for name in names:
                if name.split(".")[0] in MODULES:
                    yield f"line {node.lineno}: import {name}"
            if isinstance(node, ast.ImportFrom):
                found = {f"{node.module}.{alias.name}" for alias in node.names} & CALLS
                yield from (f"line {node.lineno}: from … import {name}" for name in found)
        elif isinstance(node, ast.Call):
            yield from (f"line {node.lineno}: {what}" for what in refused_call(node))
        elif isinstance(node, ast.Constant) and node.value == "0.0.0.0":
            yield f"line {node.lineno}: an address of all interfaces"


def refused_call(call: ast.Call) -> Iterator[str]:
    name, last = dotted(call.func), dotted(call.func).split(".")[-1]
    if name in CALLS or last in METHODS:
        yield name
    if keyword(call, "shell") not in (None, False):
        yield f"{name}(shell=…)"
    if keyword(call, "allow_pickle") not in (None, False) or (
        name == "np.load" and keyword(call, "allow_pickle") is None
    ):
        yield f"{name} without allow_pickle=False"
    if last == "YAML" and keyword(call, "typ") not in ("safe", "rt"):
        yield "YAML() without typ=safe or rt"
    commands = name.split(".")[0] == "subprocess" and last in RUNNERS and call.args
    if commands and isinstance(call.args[0], ast.JoinedStr | ast.Constant | ast.BinOp):
        yield f"{name} with a string for a command"


@pytest.mark.parametrize("file", files(), ids=lambda file: file.relative_to(ROOT).as_posix())
def test_nothing_of_it_is_used(file: Path) -> None:
    if file != Path(__file__).resolve():
        assert list(refused(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from joblib import load", "import shelve as s", "from torch import load", "torch.load(f)",
        "subprocess.run('ls', shell=True)", "subprocess.run(f'ls {x}')", "os.system('ls')", "from os import system",
        "yaml.load(f)", "import yaml", "YAML()", "YAML(typ='unsafe')", "np.load(f)", "np.load(f, allow_pickle=True)",
        "np.save(f, x, allow_pickle=True)", "frame.to_pickle(f)", "eval(x)", "bind(('0.0.0.0', 1))",
        "asyncio.create_subprocess_shell(x)", "Popen(x, shell=y)", "import marshal",
    ],
)  # fmt: skip
def test_each_of_it_would_be_found(line: str) -> None:
    assert list(refused(f"def f():\n    {line}\n"))
