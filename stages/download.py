"""Every source of `params.yaml` into `data/raw/KIND/`, verified by its SHA-256 (chapters 1, 5, 6 and 7 of the book).

python -m stages.download
"""

from __future__ import annotations

import sys

from corpus.sources import Source, fetch
from pipeline import paths
from pipeline.files import write_json
from pipeline.stage import Stage, run

KINDS = ("text", "messages", "instructions", "vocabulary", "weights")


def main(stage: Stage) -> None:
    params = stage.params.download
    sources = [(kind, Source(**source.model_dump())) for kind in KINDS for source in getattr(params, kind)]
    folders = {kind: stage.out(f"data/raw/{kind}") for kind in KINDS}
    for folder in folders.values():
        folder.mkdir()
    for kind in ("vocabulary", "weights"):  # may hold no file, and DVC warns at every turn of an empty folder
        write_json(folders[kind] / "sources.json", [source.name for of, source in sources if of == kind])
    size = 0
    with stage.progress(len(sources), "files") as progress:
        for kind, source in sources:

            def show(done: int, total: int | None, name: str = source.name) -> None:
                progress.advance(0, now=f"{name} {done / 1e6:,.1f} MB")

            fetched = fetch(
                source,
                folders[kind],
                cache=paths.downloads(),
                mirror=paths.mirror(),
                timeout_s=params.timeout_s,
                attempts=params.attempts,
                max_bytes=params.max_megabytes * 10**6,
                progress=show,
            )
            print(f"{kind}/{fetched.name}: {fetched.bytes:,} bytes, from the {fetched.origin}", flush=True)
            stage.log_dataset(f"{kind}/{fetched.name}", folders[kind] / fetched.name, "download")
            size += fetched.bytes
            progress.advance()
    stage.write_metrics({"files": len(sources), "bytes": size})


if __name__ == "__main__":
    sys.exit(run("download", main))
