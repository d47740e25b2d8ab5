"""A training step beside the same step of `transformers`' GPT-2, as it is run plainly and at its best."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import torch

from benchmarks.measure import interleaved
from benchmarks.shapes import SEED, Shape, settings, shape, some_tokens
from benchmarks.table import Goal, Row, to_reach
from benchmarks.topics import Options
from benchmarks.worker import Worker
from gpt.distributed import Group
from gpt.loss import next_token_loss
from gpt.model import GPT
from gpt.runtime import bfloat16_units, choose_runtime
from gpt.seeds import generator
from gpt.train import Batch, Training

ROUNDS = 11
WARM_UP = 3
DOCUMENT = 155  # tokens: the embedded stories' mean, where rows are packed documents
OURS = "benchmarks.training:ours"
GOALS_ARE_FOR = "compiled"  # the best setting here, beside the best of the peer
SHARE = 0.65  # of the matrix rate, at the medium size, where bfloat16 has units
SHAPES = {
    "medium": (Goal(2.5), Goal(1.2)),
    "nano": (Goal(2.0), Goal(1.5)),
}


def ours(shape_name: str, compiled: bool, optimizer: str, packed: bool, threads: int) -> Callable[[], float]:
    """One step of the training loop that every stage runs; the number format is the one that it chooses itself."""
    of = shape(shape_name)
    model = GPT(of.config, generator(SEED, "weights"))
    runtime = choose_runtime("cpu", "auto", "on" if compiled else "off", threads, 0.0, model.n_parameters)
    runtime.prepare(model)
    batch = packed_rows(of) if packed else windows(of)
    training = Training(model, next_token_loss, batch, settings(optimizer), runtime, SEED, Group())

    def step() -> float:
        return training.update()["loss"]

    return step


def windows(of: Shape) -> Callable[[int, int], Batch]:
    def batch(step: int, micro: int) -> Batch:
        tokens = some_tokens(of, step)
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    return batch


def packed_rows(of: Shape) -> Callable[[int, int], Batch]:
    """The same with the places of several documents in a row, as the default recipe has them."""
    positions = (torch.arange(of.config.context_length) % DOCUMENT).expand(of.batch_size, -1).contiguous()
    plain = windows(of)
    return lambda step, micro: (*plain(step, micro), positions)


def rows(options: Options) -> Iterator[Row]:
    for name, goals in SHAPES.items():
        yield from step_rows(name, goals, options)


def step_rows(name: str, goals: tuple[Goal, Goal], options: Options) -> Iterator[Row]:
    """Ours eager and compiled, each beside both peers; for the default also as the default run trains."""
    of, threads = shape(name), options.threads
    with ExitStack() as stack:

        def worker(target: str, **arguments: object) -> Worker:
            return stack.enter_context(Worker(target, shape_name=name, threads=threads, **arguments))

        plain = {"optimizer": "adamw", "packed": False}
        ways = {
            "eager": worker(OURS, compiled=False, **plain),
            "compiled": worker(OURS, compiled=True, **plain),
            "peer": worker("benchmarks.peers:training", compiled=False),
            "best peer": worker("benchmarks.peers:training", compiled=True),
        }
        if name == "nano":
            ways["default"] = worker(OURS, compiled=False, optimizer="muon", packed=True)
        found = interleaved(ways, ROUNDS, WARM_UP)
    operations = of.operations(parameters(of))
    hardware = options.hardware
    assert hardware is not None
    of_bfloat16 = bfloat16_units()
    limit = hardware.bfloat16_gflops if of_bfloat16 else hardware.float32_gflops
    peers = {"peer": "transformers, float32, eager", "best peer": "transformers, bfloat16, compiled"}
    for way in ("eager", "compiled", "default"):
        if way not in found:
            continue
        share = operations / found[way].least / (limit * 1e9)
        pace = f"{of.tokens / found[way].least:,.0f} tokens/s"
        note = f"{pace}, {share:.0%} of the measured matrix rate"
        if (name, way) == ("medium", GOALS_ARE_FOR) and of_bfloat16:
            note += f" {to_reach(f'≥ {SHARE:.0%}', share >= SHARE)}"
        note += f", {ways[way].own_bytes / 1e6:,.0f} MB"
        label = {"eager": "eager", "compiled": "compiled", "default": "as the default run: Muon, packed documents"}
        for number, (peer, told) in enumerate(peers.items()):
            goal = goals[number] if way == GOALS_ARE_FOR else None
            yield Row(
                f"{of if not number and way == 'eager' else name}: {label[way]}",
                found[way],
                told,
                found[peer],
                goal,
                note if not number else f"peer: {ways[peer].own_bytes / 1e6:,.0f} MB",
            )


def parameters(of: Shape) -> int:
    with torch.device("meta"):
        return GPT(of.config).n_parameters
