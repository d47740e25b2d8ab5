"""This project beside its peers on this machine, each pair in one run.

    python -m benchmarks [NAME…] [--out docs/performance.md] [--size 100]                (make bench, make bench NAME=…)

Each topic runs in a process of its own and measures what the hardware allows along with it. Its table is printed and
takes the place of the last one in the page; --out - only prints. At the end the goals of the whole page in one table.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.goals import GOALS, overview
from benchmarks.table import Row, from_json, section, table, to_json, write_section
from benchmarks.topics import TOPICS, Options
from pipeline import paths

PAGE = Path("docs/performance.md")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TOPICS)}; all by default")
    parser.add_argument("--out", default=str(PAGE), help="the page that takes the tables; -: none")
    parser.add_argument("--size", type=float, help="of what grows, in the topic's own unit (tokenizing: megabytes)")
    parser.add_argument("--text", type=Path, help="a text file to learn from (losses)")
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        if unknown := sorted(set(options.names) - set(TOPICS)):
            raise ValueError(f"{unknown[0]!r} is no benchmark: {', '.join(TOPICS)} are")
        if any(TOPICS[name].cuda for name in options.names) and not has_cuda():
            raise ValueError("gpu measures a CUDA device, and this machine has none that PyTorch can use")
        if options.size is not None and not options.size > 0:
            raise ValueError(f"--size is {options.size}: it must be above 0")
        if options.text is not None and not options.text.is_file():
            raise ValueError(f"--text is {options.text}: there is no such file")
        if options.result:
            picture = options.result.with_suffix(".png")
            wanted = Options(paths.home() / "bench", options.size, options.text, picture=picture)
            measure(options.names[0], wanted, options.result)
            return 0
        options.names = options.names or [name for name, topic in TOPICS.items() if not topic.cuda or has_cuda()]
        failed = [name for name in options.names if not run(name, options.size, options.text, options.out)]
        sum_up(options.out)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if failed:
        print(f"error: not measured: {', '.join(failed)}; see above", file=sys.stderr)
    return 1 if failed else 0


def run(name: str, size: float | None, text: Path | None, out: str) -> bool:
    """Measure one topic in a process of its own, print its table and write it into the page; whether that worked."""
    began = time.monotonic()
    print(f"\n{name}: {TOPICS[name].title}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", "benchmarks", name, "--result", str(result)]
        command += ["--size", str(size)] if size else []
        command += ["--text", str(text)] if text else []
        if subprocess.run(command, env=environment(), check=False).returncode:
            return False
        found = json.loads(result.read_text(encoding="utf-8"))
        if out != "-" and result.with_suffix(".png").is_file():
            shutil.copyfile(result.with_suffix(".png"), Path(out).with_name(f"{name}.png"))
    rows = [from_json(row) for row in found["rows"]]
    shown = section(TOPICS[name].title, found["hardware"], said(name, size, text), rows)
    print(f"{shown}\n\n({time.monotonic() - began:.0f} s)", flush=True)
    if out != "-":
        write_section(Path(out), name, shown)
    return True


def sum_up(out: str) -> None:
    """The goals of all tables in the page, printed and put into it."""
    page = Path(out)
    if out == "-" or not page.is_file():
        return
    if text := overview(page.read_text(encoding="utf-8")):
        print(f"\n{text}", flush=True)
        write_section(page, GOALS, text)


def has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def said(name: str, size: float | None, text: Path | None = None) -> str:
    """The command a person would give; of a text's place only its name."""
    return f"make bench NAME={name}" + (f" SIZE={size:g}" if size else "") + (f" TEXT={text.name}" if text else "")


def environment() -> dict[str, str]:
    """The compilers of both sides keep their work under the bench's folder, so that only a first run waits for them."""
    return {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(paths.home() / "bench" / "torchinductor")}


def measure(name: str, options: Options, result: Path) -> None:
    """One topic, here and now."""
    from benchmarks.hardware import measure_hardware

    options.folder.mkdir(parents=True, exist_ok=True)
    options.hardware = measure_hardware(options.threads, options.folder)
    topic = importlib.import_module(f"benchmarks.{name}")
    rows: list[Row] = []
    for row in topic.rows(options):
        print(table([row]).split("\n")[-1], file=sys.stderr, flush=True)
        rows.append(row)
    found = {"hardware": options.hardware.sentence(), "rows": [to_json(row) for row in rows]}
    result.write_text(json.dumps(found | {"limits": asdict(options.hardware)}), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
