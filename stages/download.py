"""Everything there is to learn from into `data/raw/KIND/` (chapters 2, 5, 6 and 7 of the book).

The embedded corpus is written by its generator; every other source is fetched and verified by its SHA-256. A followed
source (`sha256: null`) is held to the hash in sources.lock.json, which `make refresh` keeps.

python -m stages.download
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from corpus.sources import Fetched, Source, fetch, side_by_side
from corpus.world.write import write_instructions, write_messages, write_stories
from pipeline import paths
from pipeline.files import write_json
from pipeline.followed import LOCK_FILE, Lock, followed, locked_hash, read_lock
from pipeline.schema import SOURCE_KINDS, WORLD_FILES, SourceFile, World
from pipeline.stage import Stage, run

ORIGINS = {"cache": "the cache", "mirror": "the mirror", "source": "its source", "own": "data/own"}


def generate(world: World, folders: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """Write what `world` asks for; yields (kind, file) of each."""
    writers: list[tuple[str, int, Callable[[Path, int, int], None]]] = [
        ("text", round(world.text_megabytes * 1e6), write_stories),
        ("messages", world.messages, write_messages),
        ("instructions", world.instructions, write_instructions),
    ]
    for kind, size, write in writers:
        if size:
            file = folders[kind] / WORLD_FILES[kind]
            write(file, size, world.seed)
            yield kind, file


def to_fetch(kind: str, source: SourceFile, lock: Lock) -> Source:
    """The source with the hash that its file must have: its own, or the lock file's.

    A hash that is not there is not looked for here: the stage would change its own input while it runs.
    """
    sha256 = source.sha256
    if source.followed and (sha256 := locked_hash(lock, f"{kind}/{source.name}", source)) is None:
        raise ValueError(
            f"{kind}/{source.name} is followed (sha256: null), and {LOCK_FILE} has no verified hash of it yet: "
            "run make refresh first"
        )
    return Source(source.name, source.url, sha256, source.member)


def main(stage: Stage) -> None:
    params = stage.params.download
    lock, moving = read_lock(), {key for key, _ in followed(params)}
    sources = [(kind, to_fetch(kind, source, lock)) for kind in SOURCE_KINDS for source in getattr(params, kind)]
    folders = {kind: stage.out(f"data/raw/{kind}") for kind in SOURCE_KINDS}
    for folder in folders.values():
        folder.mkdir()
    for kind in ("vocabulary", "weights"):  # may hold no file, and DVC warns at every turn of an empty folder
        write_json(folders[kind] / "sources.json", [source.name for of, source in sources if of == kind])
    files = size = 0
    with stage.progress(sum(len(params.names(kind)) for kind in SOURCE_KINDS), "files") as progress:
        for kind, file in generate(params.world, folders):
            print(f"{kind}/{file.name}: {file.stat().st_size:,} bytes, generated", flush=True)
            stage.log_dataset(f"{kind}/{file.name}", file, "download")
            files, size = files + 1, size + file.stat().st_size
            progress.advance()

        def get(wanted: tuple[str, Source]) -> Fetched:
            kind, source = wanted
            try:
                return fetch(
                    source,
                    folders[kind],
                    cache=paths.downloads(),
                    mirror=paths.mirror(),
                    timeout_s=params.timeout_s,
                    attempts=params.attempts,
                    max_bytes=params.max_megabytes * 10**6,
                    progress=lambda done, total: progress.advance(0, now=f"{source.name} {done / 1e6:,.1f} MB"),
                )
            except ValueError as error:
                hint = " (it is followed: make refresh takes what is there now)"
                raise ValueError(f"{error}{hint if f'{kind}/{source.name}' in moving else ''}") from error

        for (kind, _), fetched in zip(sources, side_by_side(get, sources), strict=True):
            print(f"{kind}/{fetched.name}: {fetched.bytes:,} bytes, from {ORIGINS[fetched.origin]}", flush=True)
            stage.log_dataset(f"{kind}/{fetched.name}", folders[kind] / fetched.name, "download")
            files, size = files + 1, size + fetched.bytes
            progress.advance()
    stage.write_metrics({"files": files, "bytes": size})


if __name__ == "__main__":
    sys.exit(run("download", main))
