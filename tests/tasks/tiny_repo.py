"""A tiny DVC repository for tests: real git, real DVC, stages that are a few lines of Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from ruamel.yaml import YAML

WORK = """
import sys
from pathlib import Path
from ruamel.yaml import YAML
out, *sources = sys.argv[1:]
name = Path(out).stem
number = YAML(typ="safe").load(Path("params.yaml").read_text())[name]["number"]
print(f"{name} says {number}")
if number < 0:
    print("about to fail")
    sys.exit(f"{name}: number is {number}, allowed are 0 and more")
Path(out).write_text("+".join([str(number), *(Path(source).read_text() for source in sources)]))
"""


def run(root: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=root, check=check, capture_output=True, text=True)


def dvc(root: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return run(root, sys.executable, "-P", "-m", "dvc", *arguments, check=check)


def make_repo(
    root: Path, stages: Mapping[str, object], params: Mapping[str, object], scripts: Mapping[str, str]
) -> Path:
    """A git and DVC repository at `root` with these stages, parameters and NAME.py scripts; nothing has run."""
    root.mkdir(parents=True, exist_ok=True)
    run(root, "git", "init", "--quiet")
    dvc(root, "init", "--quiet")
    for key, value in (("core.analytics", "false"), ("core.check_update", "false"), ("core.site_cache_dir", "site")):
        dvc(root, "config", key, str(root / ".dvc" / value) if value == "site" else value)
    write_yaml(root / "dvc.yaml", {"stages": stages})
    write_yaml(root / "params.yaml", params)
    for name, text in scripts.items():
        (root / f"{name}.py").write_text(dedent(text), encoding="utf-8")
    return root


def write_yaml(path: Path, value: object) -> None:
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(value, file)


def read_yaml(path: Path) -> dict:
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def python(script: str, *arguments: str) -> str:
    """The `cmd` that runs SCRIPT.py with this interpreter."""
    return " ".join([sys.executable, f"{script}.py", *arguments])


def stage(name: str, *sources: str) -> dict[str, object]:
    return {
        "cmd": python("work", f"{name}.txt", *sources),
        "deps": ["work.py", *sources],
        "params": [name],
        "outs": [f"{name}.txt"],
    }


def make_templates(folder: Path) -> Path:
    """Two repositories to copy for each test: `fresh`, where nothing ran, and `done`. root → left, right → join."""
    stages = {
        "root": stage("root"),
        "left": stage("left", "root.txt"),
        "right": stage("right", "root.txt"),
        "join": stage("join", "left.txt", "right.txt"),
    }
    params = {name: {"number": 1} for name in stages}
    make_repo(folder / "fresh", stages, params, {"work": WORK})
    shutil.copytree(folder / "fresh", folder / "done")
    dvc(folder / "done", "repro")
    return folder


def set_number(root: Path, name: str, number: float) -> None:
    """Edit params.yaml."""
    tree = read_yaml(root / "params.yaml")
    tree[name]["number"] = number
    write_yaml(root / "params.yaml", tree)
