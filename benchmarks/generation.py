"""Writing 256 tokens on, one text at a time, beside `transformers`' `generate` with its cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from benchmarks.measure import interleaved
from benchmarks.shapes import SEED, shape
from benchmarks.table import Goal, Row
from benchmarks.topics import Options
from benchmarks.worker import Worker
from gpt.generate import generate
from gpt.model import GPT
from gpt.runtime import keep_large_blocks
from gpt.seeds import generator

NEW_TOKENS = 256
PROMPT = list(range(1, 17))
ROUNDS = {"nano": 7, "gpt2": 3}
GOALS = {"nano": Goal(3.0), "gpt2": Goal(1.5)}


def ours(shape_name: str, prompt: list[int], new_tokens: int, threads: int) -> Callable[[], int]:
    """The function that answers in the stages and when served."""
    torch.set_num_threads(threads)
    keep_large_blocks()
    model = GPT(shape(shape_name).config, generator(SEED, "weights"))
    return lambda: len(generate(model, [prompt], max_new_tokens=new_tokens)[0])


def rows(options: Options) -> Iterator[Row]:
    assert options.hardware is not None
    for name, goal in GOALS.items():
        given = {"shape_name": name, "prompt": PROMPT, "new_tokens": NEW_TOKENS, "threads": options.threads}
        with (
            Worker("benchmarks.generation:ours", **given) as here,
            Worker("benchmarks.peers:generation", **given) as peer,
        ):
            found = interleaved({"ours": here, "peer": peer}, ROUNDS[name])
            assert here.value == peer.value == NEW_TOKENS
        per_token = found["ours"].least / NEW_TOKENS
        read = weight_bytes(name) / per_token / (options.hardware.memory_gb_s * 1e9)
        note = f"{1 / per_token:,.0f} tokens/s; weights read at {read:.0%} of the measured bandwidth"
        yield Row(f"{name}, float32", found["ours"], "transformers.generate", found["peer"], goal, note)


def weight_bytes(name: str) -> int:
    """What a token has to read: every weight once, of the embeddings only the head's."""
    with torch.device("meta"):
        model = GPT(shape(name).config)
    return 4 * (sum(p.numel() for p in model.blocks.parameters()) + model.head.weight.numel())
