"""A LoRA training step, rank 16 on every linear layer of a classifier, beside `peft` on the same GPT-2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import torch

from benchmarks.measure import interleaved
from benchmarks.shapes import SEED, settings, shape
from benchmarks.table import Goal, Row, to_reach
from benchmarks.topics import Options
from benchmarks.worker import Worker
from gpt.distributed import Group
from gpt.heads import Classifier
from gpt.lora import add_lora
from gpt.loss import label_loss
from gpt.runtime import choose_runtime
from gpt.seeds import generator
from gpt.train import Batch, Training

RANK = 16
ROWS = {"nano": (32, 48), "gpt2-124m": (8, 128)}  # messages a step, tokens a message
ROUNDS = {"nano": 15, "gpt2-124m": 4}
GOALS = {"plain": Goal(2.5), "best": Goal(1.3)}
PEERS = {"plain": "peft, float32, eager", "best": "peft, bfloat16, compiled"}


def some_messages(name: str, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (B, T) and classes (B,), drawn evenly."""
    draws = generator(SEED, "messages", step)
    rows, width = ROWS[name]
    tokens = torch.randint(1, shape(name).config.vocab_size, (rows, width), generator=draws)
    return tokens, torch.randint(2, (rows,), generator=draws)


def ours(shape_name: str, compiled: bool, threads: int) -> Callable[[], float]:
    """One step of the loop that the lora stage runs, on rows of one length."""
    model = Classifier(shape(shape_name).config, ["ham", "spam"], generator(SEED, "weights"))
    add_lora(model, RANK, float(RANK), 0.0, generator(SEED, "adapters"))
    runtime = choose_runtime("cpu", "auto", "on" if compiled else "off", threads, 0.0, model.n_parameters)
    runtime.prepare(model)

    def batch(step: int, micro: int) -> Batch:
        tokens, classes = some_messages(shape_name, step)
        return tokens, torch.full((len(tokens),), tokens.size(1)), classes

    training = Training(model, label_loss, batch, settings(), runtime, SEED, Group())
    return lambda: training.update()["loss"]


def rows(options: Options) -> Iterator[Row]:
    for name in ROWS:
        with ExitStack() as stack:

            def worker(target: str, compiled: bool, name: str = name, stack: ExitStack = stack) -> Worker:
                given = {"shape_name": name, "compiled": compiled, "threads": options.threads}
                return stack.enter_context(Worker(target, **given))

            ways = {
                "eager": worker("benchmarks.lora:ours", False),
                "compiled": worker("benchmarks.lora:ours", True),
                "plain": worker("benchmarks.peers:lora", False),
                "best": worker("benchmarks.peers:lora", True),
            }
            found = interleaved(ways, ROUNDS[name], warm_up=2)
        messages, width = ROWS[name]
        for way in ("eager", "compiled"):
            for peer, told in PEERS.items():
                work = f"{name}, {messages} messages of {width} tokens: {way}"
                memory, peers = ways[way].own_bytes, ways[peer].own_bytes
                note, peers_mb = f"{memory / 1e6:,.0f} MB", f"{peers / 1e6:,.0f} MB"
                note += f" {to_reach(f'< {peers_mb}', memory < peers)}" if way == "eager" else f", peer {peers_mb}"
                goal = GOALS[peer] if way == "eager" else None  # what stages of this size take
                yield Row(work, found[way], told, found[peer], goal, note)
