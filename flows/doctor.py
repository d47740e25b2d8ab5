"""make doctor: what is wrong here, and what to do about it, a line for each check.

    python -m flows.doctor [--look] [--all]

Clears what is safe to clear (locks of processes that are gone, files that were being written when their writer was
killed, damaged memories of what can be computed again) and says so; with --look it changes nothing. What only a person
can do is marked `you`, and the exit status is 1 then. --all reads all of DVC's cache instead of its first gigabyte.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from flows import services
from pipeline import doctor, earlier
from pipeline.doctor import CLEARED, NOTE, OK, YOU, Finding
from pipeline.files import md5_file
from pipeline.graph import read_mapping
from pipeline.params import load_params
from tasks.dvc_repo import repair

CACHE_BYTES = 1_000_000_000  # about three seconds


def examine(root: Path, *, clear: bool = True, whole_cache: bool = False) -> Iterator[Finding]:
    """Every check in turn. `root` is the current folder."""
    yield from doctor.versions(root)
    yield from doctor.disk()
    yield from ports()
    yield from parameters()
    yield from doctor.locks(clear)
    yield from dvc_locks(root, clear)
    yield from doctor.half_written(root, clear)
    yield from doctor.databases(clear)
    yield from doctor.journals(clear)
    yield from cache(root, clear, sys.maxsize if whole_cache else CACHE_BYTES)


def ports() -> Iterator[Finding]:
    """Whether each server runs, or would find a port."""
    for service in (services.PREFECT, services.MLFLOW):
        if found := services.running(service):
            yield Finding("ports", OK, f"{service.name} runs on {found.url} (process {found.pid})")
            continue
        try:
            port = services.port_of(service)
            yield Finding("ports", OK, f"{service.name} does not run; port {port} is free for it")
        except ValueError as error:
            yield Finding("ports", YOU, str(error))


def parameters() -> Iterator[Finding]:
    """params.yaml against the schema."""
    try:
        load_params()
        yield Finding("parameters", OK, "params.yaml is in order")
    except ValueError as error:
        yield Finding("parameters", YOU, " ".join(str(error).split()))


def dvc_locks(root: Path, clear: bool) -> Iterator[Finding]:
    """DVC's own: a dvc.lock cut short, file locks of processes that are gone."""
    if not clear:
        yield Finding("dvc", NOTE, "its locks are looked at without --look only")
        return
    try:
        done = repair(root, wait=False)
    except BlockingIOError as error:
        yield Finding("dvc", NOTE, str(error))
    except ValueError as error:
        yield Finding("dvc", YOU, str(error))
    else:
        yield from (Finding("dvc", CLEARED, line) for line in done)
        if not done:
            yield Finding("dvc", OK, "dvc.lock is whole, no file lock was left behind")


def cache(root: Path, clear: bool, most_bytes: int) -> Iterator[Finding]:
    """What dvc.lock names first, then everything else in DVC's cache: whether the bytes are those of their names."""
    folder = earlier.cache_folder(root)
    files = [*_named(root, folder), *sorted((folder / "files" / "md5").glob("??/*"))]
    read = checked = damaged = 0
    left = []
    for file in dict.fromkeys(files):
        if not file.is_file() or file.suffix == ".tmp":
            continue
        size = file.stat().st_size
        if read and read + size > most_bytes:
            left.append(size)
            continue
        read, checked = read + size, checked + 1
        if md5_file(file) + file.suffix != file.parent.name + file.name:
            damaged += 1
            if clear:
                file.unlink()
            said = "its bytes are not those of its name; `make run` makes it again, `dvc pull` brings it from a remote"
            yield Finding("cache", CLEARED if clear else NOTE, f"{file.relative_to(folder)}: {said}")
    rest = f"; {len(left)} more ({sum(left) / 1e9:,.1f} GB) are read with --all" if left else ""
    if not damaged:
        yield Finding("cache", OK, f"{checked} files, {read / 1e6:,.0f} MB, are what their names say{rest}")


def _named(root: Path, folder: Path) -> Iterator[Path]:
    """The cached files of the outputs that dvc.lock names."""
    try:
        entries = read_mapping(root / "dvc.lock")["stages"].values()
        digests = [out["md5"] for entry in entries for out in entry.get("outs", ()) if "md5" in out]
    except (ValueError, KeyError, TypeError, AttributeError):
        return
    for digest in digests:
        yield earlier.cached_file(folder, digest)
        if digest.endswith(".dir"):
            try:
                yield from (earlier.cached_file(folder, each["md5"]) for each in earlier.listing(folder, digest))
            except (LookupError, ValueError):
                continue


def main(arguments: list[str]) -> int:
    """The command line. 0: nothing is left to do; 1: something needs a person."""
    parser = argparse.ArgumentParser(prog="python -m flows.doctor", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--look", action="store_true", help="change nothing")
    parser.add_argument("--all", action="store_true", help="read all of DVC's cache")
    options = parser.parse_args(arguments)
    services.configure()
    try:
        states = []
        for finding in examine(Path.cwd(), clear=not options.look, whole_cache=options.all):
            print(f"{finding.state:8} {finding.check:13} {finding.text}", flush=True)
            states.append(finding.state)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    needed = states.count(YOU)
    print(f"{needed} of {len(states)} need you" if needed else "Nothing here needs you.")
    return 1 if needed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
