"""Tokenizing a corpus of SIZE megabytes (1,000 by default), beside tiktoken's own batch encoding on the same cores.

tiktoken is given all texts in memory and keeps all tokens there. The tokenize stage reads the file, cleans, looks for
duplicates, splits, encodes and writes, document by document.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.chapters import encoding
from benchmarks.measure import Times, interleaved
from benchmarks.shapes import ROOT, SEED
from benchmarks.table import Goal, Row, to_reach
from benchmarks.topics import Options
from benchmarks.worker import Worker
from corpus.world.stories import story_lines
from gpt.tokenizer import encode_documents
from pipeline.params import load_params
from stages.tokenize import TEXT, write_tokens

MEGABYTES, FEW = 1_000.0, 10.0
ROUNDS = 3
MOST_GROWN = 200  # MB of memory


def corpus(folder: Path, megabytes: float) -> Path:
    """A workspace whose raw text is so large; made once (1 GB takes minutes), of the embedded stories."""
    place = folder / f"tokenizing-{megabytes:g}"
    file = place / TEXT / "stories.jsonl"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        half = file.with_suffix(".part")
        with half.open("w", encoding="utf-8") as out:
            out.writelines(story_lines(round(megabytes * 1e6), SEED))
        half.rename(file)
    return place


def texts_of(place: Path) -> Iterator[str]:
    with (place / TEXT / "stories.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"]


def stage(place: str) -> Callable[[], int]:
    """What the tokenize stage does with a known vocabulary; how many documents there were."""
    params, read = load_params(ROOT / "params.yaml").tokenize, encoding()
    folder = Path(place) / "tokens"

    def whole() -> int:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.chdir(place):
            return write_tokens(params, SEED, read, folder, lambda: None)["documents"]

    return whole


def ours(place: str, threads: int) -> Callable[[], int]:
    """The encoding alone, of texts in memory; how many tokens came."""
    texts, read = list(texts_of(Path(place))), encoding()
    return lambda: sum(map(len, encode_documents(read, texts, threads)))


def tiktokens(place: str, threads: int) -> Callable[[], int]:
    texts, read = list(texts_of(Path(place))), encoding()
    return lambda: sum(map(len, read.encode_ordinary_batch(texts, num_threads=threads)))


def rows(options: Options) -> Iterator[Row]:
    size = options.size or MEGABYTES
    few, many = (str(corpus(options.folder, megabytes)) for megabytes in (min(FEW, size), size))
    with Worker("benchmarks.tokenizing:stage", place=few) as small:
        small()
    given: dict[str, Any] = {"place": many, "threads": options.threads}
    with (
        Worker("benchmarks.tokenizing:stage", place=many) as whole,
        Worker("benchmarks.tokenizing:ours", **given) as alone,
        Worker("benchmarks.tokenizing:tiktokens", **given) as peer,
    ):
        found = interleaved({"whole": whole, "alone": alone, "peer": peer}, ROUNDS if size < MEGABYTES else 1, 0)
        assert alone.value == peer.value
    text_bytes = (Path(many) / TEXT / "stories.jsonl").stat().st_size
    grown = (whole.peak_bytes - small.peak_bytes) / 1e6
    note = (
        f"peak memory {whole.peak_bytes / 1e6:,.0f} MB, {grown:+,.0f} MB from {min(FEW, size):g} to {size:g} MB of "
        f"text {to_reach(f'≤ +{MOST_GROWN} MB', grown <= MOST_GROWN)}; tiktoken {peer.peak_bytes / 1e6:,.0f} MB"
    )
    told = "tiktoken's encode_ordinary_batch"
    yield Row(
        f"{size:g} MB, encoding alone", found["alone"], told, found["peer"], Goal(0.9), pace(found["alone"], text_bytes)
    )
    note = f"{pace(found['whole'], text_bytes)}; {note}"
    yield Row(f"{size:g} MB, the stage: file to files", found["whole"], told, found["peer"], None, note)


def pace(times: Times, n_bytes: int) -> str:
    return f"{n_bytes / times.least / 1e6:,.1f} MB/s"
