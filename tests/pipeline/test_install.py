"""The installation: what uv is told of pip's settings, and that pip takes over where uv can't."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pipeline.install import settings_of_pip

ROOT = Path(__file__).resolve().parents[2]
FAILS = """
import sys
from pipeline import install
if sys.argv[1] == "uv fails":
    install._uv = lambda: ([sys.executable, "-c", "print('no such thing'); raise SystemExit(2)"], {})
sys.exit(install.main(sys.argv[2:]))
"""


def test_where_packages_lie_is_handed_over_the_environment_before_the_files() -> None:
    listed = (
        ":env:.default-timeout='180'\n:env:.disable-pip-version-check='1'\n:env:.find-links='/wheels /more'\n"
        "global.constraint='/etc/c.txt'\nglobal.extra-index-url='\\nfile:///one\\nfile:///two'\n"
        "global.find-links='/else'\ninstall.index-url='https://mirror.example/simple'\ndownload.dest='/tmp'\n"
    )
    assert settings_of_pip(listed) == {
        "UV_HTTP_TIMEOUT": "180",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_CONSTRAINT": "/etc/c.txt",
        "UV_INDEX": "file:///one file:///two",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
    }
    assert settings_of_pip("") == {}


@pytest.mark.parametrize("setting", ["global.no-index='true'", "install.proxy='http://p'", ":env:.user='1'"])
def test_a_setting_that_uv_cannot_be_told_leaves_it_to_pip(setting: str) -> None:
    assert settings_of_pip(f"global.find-links='/wheels'\n{setting}\n") is None


def wheel(folder: Path, name: str, needs: str = "") -> None:
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in files)
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as out:
        for file, text in files.items():
            out.writestr(file, text)


def test_pip_installs_where_uv_does_not(tmp_path: Path) -> None:
    """Where pip is told not to ask an index, and where uv fails; also that its failure is the command's."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    wheel(tmp_path, "leaf")
    wheel(tmp_path, "tree", "Requires-Dist: leaf\n")
    for name in ("tree", "nowhere"):
        (tmp_path / f"{name}.lock").write_text(f"{name}==1.0\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    environment = kept | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}

    def install(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(tmp_path / "venv" / "bin" / "python"), "-c", FAILS, *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    def installed() -> set[str]:
        return {file.stem for file in tmp_path.glob("venv/lib/python*/site-packages/*.py")} & {"leaf", "tree"}

    alone = install("no uv", "--no-deps", str(tmp_path / "tree.lock"))
    assert (alone.returncode, alone.stdout, installed()) == (0, "", {"tree"}), alone.stderr
    whole = install("uv fails", str(tmp_path / "tree.lock"))
    assert whole.returncode == 0 and installed() == {"leaf", "tree"}
    assert "pip goes on" in whole.stdout and "no such thing" in (tmp_path / "venv" / "uv.log").read_text()
    nowhere = install("uv fails", str(tmp_path / "nowhere.lock"))
    assert nowhere.returncode == 1 and "nowhere==1.0" in nowhere.stderr and "Traceback" not in nowhere.stderr
