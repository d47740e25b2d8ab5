"""Batches from a file of a billion tokens (SIZE: millions of tokens): opening it, drawing batches, memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.measure import interleaved
from benchmarks.shapes import SEED
from benchmarks.table import Goal, Row, to_reach
from benchmarks.topics import Options
from benchmarks.worker import Worker
from gpt.order import MixedOrder
from gpt.tokens import ABOUT, open_tokens
from gpt.windows import Windows, starts_within

MILLIONS = 1_000.0
CONTEXT, BATCH = 256, 64
BATCHES = 400
LEAST_PACE = 50e6  # tokens a second


def corpus(folder: Path, millions: float) -> Path:
    """A token file of that length, made once; its tokens are drawn, a block at a time."""
    place = folder / f"sampling-{millions:g}"
    count = round(millions * 1e6)
    if not (place / ABOUT).is_file():
        place.mkdir(parents=True, exist_ok=True)
        draws = np.random.default_rng(SEED)
        with (place / "train.bin").open("wb") as file:
            for begin in range(0, count, 1 << 24):
                file.write(draws.integers(0, 2000, min(1 << 24, count - begin), dtype="<u2").tobytes())
        about = {"dtype": "uint16", "end_of_text": 2000, "parts": {"train": {"tokens": count}}, "vocab_size": 2001}
        (place / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    return place


def opened(place: str) -> tuple[Windows, MixedOrder]:
    """As pretrain gets at its rows: the memory-mapped file, where the windows start, and the order's first batch."""
    tokens = open_tokens(Path(place), "train")
    starts, sizes = starts_within([(0, len(tokens))], CONTEXT, CONTEXT)
    order = MixedOrder(SEED, sizes)
    order.batch(0, BATCH)
    return Windows(tokens, starts, CONTEXT), order


def opening(place: str) -> Callable[[], int]:
    """How many windows there are."""

    def whole() -> int:
        from gpt.order import epoch_order

        epoch_order.cache_clear()
        return len(opened(place)[0])

    return whole


def drawing(place: str) -> Callable[[], float]:
    """Some batches from all over the file; the process's own memory afterwards, in bytes, without the file's pages."""
    windows, order = opened(place)
    numbers = iter(range(1 << 40))

    def some() -> float:
        for _ in range(BATCHES):
            windows.batch(order.batch(next(numbers), BATCH))
        return own_memory()

    return some


def own_memory() -> float:
    """Bytes that no file stands behind (Linux)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def rows(options: Options) -> Iterator[Row]:
    millions = options.size or MILLIONS
    few, many = (str(corpus(options.folder, size)) for size in (millions / 100, millions))
    with (
        Worker("benchmarks.sampling:opening", place=many) as opens,
        Worker("benchmarks.sampling:drawing", place=many) as draws,
        Worker("benchmarks.sampling:drawing", place=few) as small,
    ):
        found = interleaved({"opens": opens, "draws": draws, "small": small}, 7)
    tokens = BATCHES * BATCH * CONTEXT
    pace = tokens / found["draws"].median
    note = f"{opens.value:,} windows of {CONTEXT} tokens, their order drawn"
    yield Row(f"opening {millions:,.0f} million tokens", found["opens"], goal=Goal(1.0, seconds=True), note=note)
    note = (
        f"{pace / 1e6:,.0f} million tokens/s {to_reach(f'≥ {LEAST_PACE / 1e6:.0f}', pace >= LEAST_PACE)}; own memory "
        f"{draws.value / 1e6:,.0f} MB, of {millions / 100:g} million tokens {small.value / 1e6:,.0f} MB"
    )
    work = f"{BATCHES} batches of {BATCH} windows"
    yield Row(work, found["draws"], f"the same from {millions / 100:g} million", found["small"], None, note)
