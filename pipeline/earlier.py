"""What a stage had made before, from DVC's cache, while its place in the workspace is empty.

DVC deletes a stage's outputs before it runs the stage. While it runs, and when it then fails (a full disk, a wrong
parameter), dvc.lock still names the version before, and the cache still holds it. Read without DVC, which would want
its lock and write into the workspace; the files are linked together under HOME/earlier, or, where that has no room, in
the folder for temporary files.
"""

from __future__ import annotations

import configparser
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.files import md5_file, md5_path, remove_tree
from pipeline.fingerprint import locked_inputs, locked_outputs
from pipeline.graph import read_mapping


def versions(output: str, root: Path | str = ".") -> dict[str, str]:
    """{path: md5} of all outputs and inputs of the stage that last made `output`, as dvc.lock has them; {} if none."""
    with suppress(ValueError, KeyError, TypeError, AttributeError):  # none, or DVC is writing it
        for entry in read_mapping(Path(root, "dvc.lock"))["stages"].values():
            if output in (outs := locked_outputs(entry)):
                return {**locked_inputs(entry)["deps"], **outs}
    return {}


def bring(md5: str, root: Path | str = ".") -> Path | None:
    """A folder with the files of that digest (DVC's, of a directory), or None when its cache has not all of them."""
    for home in (paths.home() / "earlier", Path(tempfile.gettempdir(), f"scriptorium-{os.getuid()}")):
        place = home / md5.removesuffix(".dir")
        try:
            if place.is_dir() and md5_path(place) == md5:
                return place
            return _assemble(md5, cache_folder(root), place)
        except (LookupError, FileNotFoundError):
            return None
        except OSError:  # no room, or not ours to write
            with suppress(OSError):
                remove_tree(place.with_name(place.name + ".tmp"))
    return None


def cache_folder(root: Path | str = ".") -> Path:
    """Where this repository's DVC cache lies, by its own configuration files (the person's global one is not read)."""
    found = configparser.ConfigParser(interpolation=None, strict=False)
    with suppress(configparser.Error):
        found.read([Path(root, ".dvc", name) for name in ("config", "config.local")], encoding="utf-8")
    return Path(root, ".dvc", found.get("cache", "dir", fallback="cache")).absolute()


def cached_file(cache: Path, md5: str) -> Path:
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def listing(cache: Path, md5: str) -> list[Mapping[str, Any]]:
    """A directory's files, [{"md5", "relpath"}]; LookupError when the cache lacks the list, or it is damaged."""
    file = cached_file(cache, md5)
    if not file.is_file() or md5_file(file) + ".dir" != md5:
        raise LookupError(md5)
    return list(json.loads(file.read_text(encoding="utf-8")))


def _assemble(md5: str, cache: Path, place: Path) -> Path:
    beside = place.with_name(place.name + ".tmp")
    remove_tree(beside)
    for entry in listing(cache, md5):
        target = beside / entry["relpath"]
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(cached_file(cache, entry["md5"]), target)
        except FileNotFoundError:
            raise
        except OSError:  # another file system
            shutil.copyfile(cached_file(cache, entry["md5"]), target)
    if md5_path(beside) != md5:
        remove_tree(beside)
        raise LookupError(md5)
    remove_tree(place)
    beside.rename(place)
    return place
