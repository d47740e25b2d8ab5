"""How a training step's time and memory grow: with width, depth, context and batch, one of them at a time.

Nothing is compiled; the number format is what the stage would choose. The other three stay as `MIDDLE` has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

from benchmarks.measure import interleaved
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

ROUNDS = 5
HEAD = 64  # numbers a head: wider models have more of them
SERIES = {
    "width": (192, 384, 768),
    "layers": (2, 4, 8),
    "context": (128, 256, 512),
    "batch": (2, 4, 8),
}
MIDDLE = {"width": 384, "layers": 4, "context": 256, "batch": 4}


def sized(width: int, layers: int, context: int, batch: int) -> Shape:
    config = shape("medium").config
    config = replace(config, emb_dim=width, n_heads=width // HEAD, n_layers=layers, context_length=context)
    return Shape(config, batch)


def ours(threads: int, **sizes: int) -> Callable[[], float]:
    """One step of a model of these sizes."""
    of = sized(**sizes)
    model = GPT(of.config, generator(SEED, "weights"))
    runtime = choose_runtime("cpu", "auto", "off", threads, 0.0, model.n_parameters)
    runtime.prepare(model)
    training = Training(model, next_token_loss, windows(of), settings(), runtime, SEED, Group())
    return lambda: training.update()["loss"]


def rows(options: Options) -> Iterator[Row]:
    for name, values in SERIES.items():
        with ExitStack() as stack:
            ways = {
                value: stack.enter_context(
                    Worker("benchmarks.growing:ours", threads=options.threads, **{**MIDDLE, name: value})
                )
                for value in values
            }
            found = interleaved({str(value): way for value, way in ways.items()}, ROUNDS)
        for value, way in ways.items():
            of = sized(**{**MIDDLE, name: value})
            count = parameters(of)
            times = found[str(value)]
            rate = of.operations(count) / times.least / 1e9
            note = (
                f"{of.tokens / times.least:,.0f} tokens/s, {rate:,.0f} GFLOP/s; {count / 1e6:.1f} M parameters, "
                f"{way.own_bytes / 1e6:,.0f} MB: {way.own_bytes / count:.0f} bytes a parameter"
            )
            yield Row(f"{name} {value}", times, note=note)
