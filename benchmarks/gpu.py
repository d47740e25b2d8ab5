"""A training step of GPT-2's 124M at context 1,024 on a CUDA device, beside the same step of `transformers`.

Each side at its best there: bfloat16, compiled, fused AdamW, attention through scaled_dot_product_attention. The share
is of what products of large random matrices reach on this device, measured in the same run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import torch

from benchmarks.measure import interleaved
from benchmarks.shapes import SEED, settings, shape
from benchmarks.table import Row, to_reach
from benchmarks.topics import Options
from benchmarks.training import parameters, windows
from benchmarks.worker import Worker
from gpt.distributed import Group
from gpt.loss import next_token_loss
from gpt.model import GPT
from gpt.runtime import choose_runtime
from gpt.seeds import generator
from gpt.train import Training

ROUNDS = 20
WARM_UP = 10
SHAPE = "gpt2-gpu"
WANTED = 0.5  # of the measured rate
MATRIX, PRODUCTS = 8192, 20


def ours(threads: int, compiled: bool) -> Callable[[], float]:
    """One step of the training loop that every stage runs, until the device has done it."""
    of = shape(SHAPE)
    model = GPT(of.config, generator(SEED, "weights"))
    runtime = choose_runtime("cuda", "auto", "on" if compiled else "off", threads, 0.0, model.n_parameters)
    runtime.prepare(model)
    training = Training(model, next_token_loss, windows(of), settings(), runtime, SEED, Group())

    def step() -> float:
        loss = training.update()["loss"]
        torch.cuda.synchronize()
        return loss

    return step


def matrix_rate() -> float:
    """Operations a second of products of bfloat16 matrices, one after the other."""
    a, b = (torch.randn(MATRIX, MATRIX, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(5):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(PRODUCTS):
            a @ b
        torch.cuda.synchronize()
        best = max(best, PRODUCTS * 2 * MATRIX**3 / (time.perf_counter() - began))
    return best


def rows(options: Options) -> Iterator[Row]:
    of, rate = shape(SHAPE), matrix_rate()
    with ExitStack() as stack:

        def worker(target: str, **arguments: object) -> Worker:
            return stack.enter_context(Worker(target, threads=options.threads, **arguments))

        peer = "benchmarks.peers:training"
        ways = {
            "eager": worker("benchmarks.gpu:ours", compiled=False),
            "compiled": worker("benchmarks.gpu:ours", compiled=True),
            "peer": worker(peer, shape_name=SHAPE, compiled=True, device="cuda"),
        }
        found = interleaved(ways, ROUNDS, WARM_UP)
    operations = of.operations(parameters(of))
    for way in ("eager", "compiled"):
        share = operations / found[way].least / rate
        wanted = f" {to_reach(f'≥ {WANTED:.0%}', share >= WANTED)}" if way == "compiled" else ""
        note = (
            f"{of.tokens / found[way].least:,.0f} tokens/s, {share:.0%} of {rate / 1e12:,.0f} TFLOP/s{wanted}, "
            f"{torch.cuda.get_device_name()}"
        )
        yield Row(f"{of}: {way}", found[way], "transformers, bfloat16, compiled", found["peer"], note=note)
