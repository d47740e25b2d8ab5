"""How cost grows: a training step with width, depth, context and batch, one of them at a time; tokenizing and sampling
with the corpus; and one step of the largest published GPT-2 that fits into the memory of a laptop.

Nothing is compiled; the number format is what the stage would choose. The other three stay as `MIDDLE` has them. The
table becomes a picture, too: growing.png beside the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import sampling, tokenizing
from benchmarks.measure import Times, interleaved
from benchmarks.shapes import SEED, Shape, settings, shape
from benchmarks.table import Row
from benchmarks.topics import Options
from benchmarks.training import parameters, windows
from benchmarks.worker import Worker
from gpt.distributed import Group
from gpt.loss import next_token_loss
from gpt.model import GPT
from gpt.runtime import choose_runtime
from gpt.seeds import generator
from gpt.train import Training

ROUNDS = 3
HEAD = 64  # numbers a head: wider models have more of them
SERIES = {
    "width": (192, 384, 768),
    "layers": (2, 4, 8),
    "context": (128, 256, 512),
    "batch": (2, 4, 8),
}
MIDDLE = {"width": 384, "layers": 4, "context": 256, "batch": 4}
LARGE = {"width": 1280, "layers": 36, "context": 1024, "batch": 1}  # GPT-2's 774M
PUBLISHED = 50_257
MEGABYTES = (1.0, 10.0, 100.0, 1000.0)  # of text; SIZE: the largest
MILLIONS = (1.0, 10.0, 100.0, 1000.0)  # of tokens


@dataclass(frozen=True)
class Point:
    """One measurement: `at` on the axis of a series, seconds, bytes, and for a model its parameters."""

    series: str
    at: float
    seconds: float
    n_bytes: float
    parameters: int = 0


def sized(width: int, layers: int, context: int, batch: int, vocabulary: int | None = None) -> Shape:
    config = shape("medium").config
    config = replace(config, emb_dim=width, n_heads=width // HEAD, n_layers=layers, context_length=context)
    return Shape(replace(config, vocab_size=vocabulary or config.vocab_size), batch)


def ours(threads: int, **sizes: int) -> Callable[[], float]:
    """One step of a model of these sizes."""
    of = sized(**sizes)
    model = GPT(of.config, generator(SEED, "weights"))
    runtime = choose_runtime("cpu", "auto", "off", threads, 0.0, model.n_parameters)
    runtime.prepare(model)
    training = Training(model, next_token_loss, windows(of), settings(), runtime, SEED, Group())
    return lambda: training.update()["loss"]


def rows(options: Options) -> Iterator[Row]:
    points: list[Point] = []
    for row, point in (*steps(options.threads), *large(options), *texts(options), *tokens(options)):
        points.append(point)
        yield row
    if options.picture is not None:
        draw(points, options.picture)


def steps(threads: int) -> Iterator[tuple[Row, Point]]:
    """The four series of a training step."""
    for name, values in SERIES.items():
        with ExitStack() as stack:
            ways = {
                str(value): stack.enter_context(
                    Worker("benchmarks.growing:ours", threads=threads, **{**MIDDLE, name: value})
                )
                for value in values
            }
            found = interleaved(ways, ROUNDS)
        for value in values:
            sizes = {**MIDDLE, name: value}
            yield step_row(f"{name} {value}", name, value, sized(**sizes), found[str(value)], ways[str(value)])


def large(options: Options) -> Iterator[tuple[Row, Point]]:
    """One step of GPT-2's 774M; not where it was asked for small sizes."""
    if options.size is not None and options.size < max(MEGABYTES):
        return
    with Worker("benchmarks.growing:ours", threads=options.threads, vocabulary=PUBLISHED, **LARGE) as way:
        found = interleaved({"large": way}, 2)
    of = sized(**LARGE, vocabulary=PUBLISHED)
    yield step_row(f"GPT-2's 774M: {of}", "large", parameters(of), of, found["large"], way)


def step_row(work: str, series: str, at: float, of: Shape, times: Times, way: Worker) -> tuple[Row, Point]:
    count = parameters(of)
    note = (
        f"{of.tokens / times.least:,.0f} tokens/s, {of.operations(count) / times.least / 1e9:,.0f} GFLOP/s; "
        f"{count / 1e6:,.1f} M parameters, {way.own_bytes / 1e6:,.0f} MB: {way.own_bytes / count:.0f} bytes a parameter"
    )
    return Row(work, times, note=note), Point(series, at, times.least, way.own_bytes, count)


def texts(options: Options) -> Iterator[tuple[Row, Point]]:
    """The tokenize stage, file to files; each size in a process of its own, whose peak memory is its."""
    for megabytes in MEGABYTES:
        if megabytes > (options.size or max(MEGABYTES)):
            continue
        place = str(tokenizing.corpus(options.folder, megabytes))
        with Worker("benchmarks.tokenizing:stage", place=place) as way:
            times = interleaved({"stage": way}, ROUNDS if megabytes < 100 else 1, 0)["stage"]
        note = f"{megabytes / times.least:,.1f} MB/s; peak memory {way.peak_bytes / 1e6:,.0f} MB"
        yield (
            Row(f"tokenizing {megabytes:g} MB", times, note=note),
            Point("text", megabytes, times.least, way.peak_bytes),
        )


def tokens(options: Options) -> Iterator[tuple[Row, Point]]:
    """Batches from all over a memory-mapped file; memory without the file's pages."""
    drawn = sampling.BATCHES * sampling.BATCH * sampling.CONTEXT
    for millions in MILLIONS:
        place = str(sampling.corpus(options.folder, millions))
        with Worker("benchmarks.sampling:drawing", place=place) as way:
            times = interleaved({"draws": way}, ROUNDS)["draws"]
        memory = float(way.value)
        note = f"{drawn / times.least / 1e6:,.0f} million tokens/s; own memory {memory / 1e6:,.0f} MB"
        work = f"{drawn / 1e6:.1f} million tokens from {millions:g} million"
        yield Row(work, times, note=note), Point("tokens", millions, times.least, memory)


def draw(points: list[Point], path: Path) -> None:
    """The table as a picture of six panels."""
    from matplotlib.ticker import FixedLocator, NullLocator

    from stages.plots import COLOURS, INK, PALE, panels, save

    figure, axes = panels(2, 3, 13, 7)
    drawn = sampling.BATCHES * sampling.BATCH * sampling.CONTEXT / 1e6

    def panel(number: int, title: str, below: str, ticks: Sequence[float]) -> None:
        ax = axes[number]
        ax.set(title=title, xlabel=below, xscale="log")
        ax.xaxis.set_major_locator(FixedLocator(list(ticks)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.set_ylim(0, 1.1 * ax.dataLim.y1)

    def line(number: int, series: str, value: Callable[[Point], float], **more: str) -> None:
        chosen = [point for point in points if point.series == series]
        scale = MIDDLE.get(series, 1)
        axes[number].plot([p.at / scale for p in chosen], [value(p) for p in chosen], marker="o", **more)

    for series, colour in zip(SERIES, COLOURS.values(), strict=False):
        line(0, series, lambda p: p.seconds, label=series, color=colour)
    models = [p for p in points if p.parameters]
    axes[1].scatter([p.parameters / 1e6 for p in models], [p.n_bytes / p.parameters for p in models], color=INK)
    axes[1].axhline(16, color=PALE, label="16 are weights and states")
    line(2, "text", lambda p: p.at / p.seconds, color=INK)
    line(4, "tokens", lambda p: drawn / p.seconds, color=INK)
    for number, series in ((3, "text"), (5, "tokens")):
        line(number, series, lambda p: p.n_bytes / 1e6, color=INK)
    panel(0, "a training step, seconds", "times the middle size", (0.5, 1, 2))
    panel(1, "its memory, bytes a parameter", "million parameters", (3, 10, 30, 100, 300, 1000))
    panel(2, "tokenizing, MB a second", "MB of text", MEGABYTES)
    panel(3, "tokenizing, peak memory in MB", "MB of text", MEGABYTES)
    panel(4, "drawing, million tokens a second", "million tokens in the file", MILLIONS)
    panel(5, "drawing, own memory in MB", "million tokens in the file", MILLIONS)
    axes[0].legend()
    axes[1].legend()
    save(figure, path)
