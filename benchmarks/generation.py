"""Writing 256 tokens on, a text alone, beside `transformers`' `generate`, with its cache, in each format of weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.chapters import trained
from benchmarks.measure import interleaved
from benchmarks.shapes import SEED, shape
from benchmarks.table import Goal, Row, to_reach
from benchmarks.topics import Options
from benchmarks.worker import Worker
from gpt.compact import FORMATS, compact
from gpt.generate import generate
from gpt.hf_format import load_gpt2
from gpt.model import GPT
from gpt.runtime import keep_large_blocks
from gpt.seeds import generator
from gpt.tokens import open_tokens
from stages.models import BASE

NEW_TOKENS = 256
PROMPT = list(range(1, 17))
ROUNDS = {"nano": 7, "gpt2": 3}
GOALS = {"nano": Goal(3.0), "gpt2": Goal(1.5)}
SHARE = 0.7  # of the bandwidth, at 124M
TOKENS, HELD_OUT_ROWS = Path("data/tokens"), 64


def ours(shape_name: str, weights: str, prompt: list[int], new_tokens: int, threads: int) -> Callable[[], int]:
    """The function that answers in the stages and when served."""
    torch.set_num_threads(threads)
    keep_large_blocks()
    model = compact(GPT(shape(shape_name).config, generator(SEED, "weights")), weights)
    return lambda: len(generate(model, [prompt], max_new_tokens=new_tokens)[0])


def rows(options: Options) -> Iterator[Row]:
    assert options.hardware is not None
    for name, goal in GOALS.items():
        given = {"shape_name": name, "prompt": PROMPT, "new_tokens": NEW_TOKENS, "threads": options.threads}
        with ExitStack() as stack:
            ways = {
                weights: stack.enter_context(Worker("benchmarks.generation:ours", weights=weights, **given))
                for weights in FORMATS
            }
            ways["peer"] = stack.enter_context(Worker("benchmarks.peers:generation", **given))
            found = interleaved(ways, ROUNDS[name])
            assert all(way.value == NEW_TOKENS for way in ways.values())
        for weights in FORMATS:
            per_token = found[weights].least / NEW_TOKENS
            read = weight_bytes(name, weights) / per_token / (options.hardware.memory_gb_s * 1e9)
            note = f"{1 / per_token:,.0f} tokens/s; weights read at {read:.0%} of the measured bandwidth"
            if (name, weights) == ("gpt2", "float32"):
                note += f" {to_reach(f'≥ {SHARE:.0%}', read >= SHARE)}"
            if name == "nano" and weights != "float32" and trained(BASE):
                note += "; " + difference(weights)
            wanted = goal if weights == "float32" or name == "gpt2" else None  # few bytes are for large models
            yield Row(f"{name}, {weights}", found[weights], "transformers.generate", found["peer"], wanted, note)


def weight_bytes(name: str, weights: str) -> int:
    """What a token has to read: every weight once, of the embeddings only the head's."""
    with torch.device("meta"):
        model = compact(GPT(shape(name).config), weights)
    return sum(
        tensor.numel() * tensor.element_size()
        for part in (model.blocks, model.head)
        for tensor in (*part.parameters(), *part.buffers())
    )


def difference(weights: str) -> str:
    """How far the trained base is from itself in float32, on texts that it was not trained on."""
    exact, other = load_gpt2(BASE).eval(), compact(load_gpt2(BASE), weights).eval()
    length = exact.config.context_length
    held_out = open_tokens(TOKENS, "validation")[: HELD_OUT_ROWS * length]
    tokens = torch.from_numpy(held_out[: len(held_out) // length * length].astype(np.int64)).view(-1, length)
    (loss, likeliest), (other_loss, other_likeliest) = (scored(model, tokens) for model in (exact, other))
    same = (likeliest == other_likeliest).float().mean().item()
    return f"trained base: {same:.1%} of the likeliest tokens as in float32, loss {other_loss - loss:+.4f} (validation)"


@torch.inference_mode()
def scored(model: GPT, tokens: Tensor) -> tuple[float, Tensor]:
    """The mean loss of tokens (B, T), and the likeliest token at each place."""
    logits = model(tokens)
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    return loss.item(), logits.argmax(dim=-1)
