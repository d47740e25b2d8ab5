"""Install a lock file where this Python lives: `python -m pipeline.install requirements.lock` (make does it).

uv does it where it can, on two cores in a third of pip's time; else pip, which is always there. uv reads none of pip's
settings, so those that say where packages lie are handed over; with others only pip will do. Imports nothing that would
have to be installed first.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

UV = "uv==0.13.9"
PIP = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
# pip's settings that uv knows under a name of its own, with what stands between several values there
HANDED = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "constraint": ("UV_CONSTRAINT", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
}
# and those that do not change what is installed here
NOT_NEEDED = {"disable-pip-version-check", "no-python-version-warning", "config-file", "retries", "quiet", "verbose",
              "no-color", "progress-bar", "no-input", "cache-dir", "no-cache-dir", "root-user-action",
              "break-system-packages", "require-virtualenv", "prefer-binary"}  # fmt: skip
SECTIONS = ("global", "install", ":env:")  # a later one goes before an earlier one


def settings_of_pip(listed: str) -> dict[str, str] | None:
    """The output of `pip config list` as uv's environment; None with a setting that uv can't be told."""
    found: dict[str, str] = {}
    lines = [line.partition("=") for line in listed.splitlines()]
    for section in SECTIONS:
        for name, _, value in lines:
            key = name.removeprefix(f"{section}.")
            if key == name or key in NOT_NEEDED:
                continue
            if key not in HANDED:
                return None
            variable, between = HANDED[key]
            found[variable] = between.join(str(ast.literal_eval(value)).split())
    if "UV_INDEX" in found:
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip's own rule: the best version of all indexes
    return found


def install(lock: Path, *, no_deps: bool = False, torch_cpu_index: str | None = None) -> None:
    """Install all that the lock file names. CalledProcessError when pip, too, gives up: it has said why."""
    more = ["--no-deps"] if no_deps else []
    uv = _uv()
    if torch_cpu_index and sys.platform == "linux" and shutil.which("nvidia-smi") is None:
        _cpu_torch(lock, torch_cpu_index, uv)
    if uv is not None:
        log = Path(sys.prefix) / "uv.log"
        with log.open("wb") as out:
            if _run([*uv[0], *more, "-r", str(lock)], uv[1], out) == 0:
                return
        print(f"uv could not install them ({log} says why): pip goes on, in about two minutes", flush=True)
    subprocess.run([*PIP, *more, "-r", str(lock)], check=True)


def _cpu_torch(lock: Path, index: str, uv: tuple[list[str], Mapping[str, str]] | None) -> None:
    """PyTorch's CPU build. The plain package is the same version for machines with a GPU, and gigabytes larger."""
    torch = next(line for line in lock.read_text(encoding="utf-8").splitlines() if line.startswith("torch=="))
    if uv is None:
        done = _run([*PIP, "--no-deps", "--retries", "1", "--timeout", "5", "--index-url", index, torch], os.environ)
    else:
        brief = {name: value for name, value in uv[1].items() if name != "UV_INDEX"}
        brief |= {"UV_HTTP_RETRIES": "1", "UV_HTTP_TIMEOUT": "5", "UV_HTTP_CONNECT_TIMEOUT": "5"}
        done = _run([*uv[0], "--no-deps", "--default-index", index, torch], brief)
    if done != 0:
        print("PyTorch's CPU index did not answer: taking the package from where the others come from", flush=True)


def _uv() -> tuple[list[str], Mapping[str, str]] | None:
    """uv's command, installed first, and its environment; None where only pip will do."""
    listed = subprocess.run([*PIP[:3], "config", "list"], capture_output=True, text=True)
    settings = settings_of_pip(listed.stdout) if listed.returncode == 0 else None
    if settings is None or _run([*PIP, "--no-deps", UV], os.environ) != 0:
        return None
    # bytecode is written now: where Python may write none later (PYTHONDONTWRITEBYTECODE), imports would stay slow
    command = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--compile-bytecode"]
    return [*command, "--python", sys.executable], {**settings, **os.environ}


def _run(command: list[str], environment: Mapping[str, str], out: object = subprocess.DEVNULL) -> int:
    try:
        return subprocess.run(command, env=environment, stdout=out, stderr=out).returncode  # type: ignore[call-overload]
    except OSError:
        return 1


def main(arguments: list[str]) -> int:
    """The command line; pip's exit status when it failed."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.install", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("lock", type=Path)
    parser.add_argument("--no-deps", action="store_true", help="exactly what the file names, nothing that it needs")
    parser.add_argument("--torch-cpu-index", metavar="ADDRESS", help="tried first for PyTorch, where no NVIDIA GPU is")
    options = parser.parse_args(arguments)
    try:
        install(options.lock, no_deps=options.no_deps, torch_cpu_index=options.torch_cpu_index)
    except subprocess.CalledProcessError as error:
        return int(error.returncode)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
