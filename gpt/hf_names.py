"""GPT-2's names: what each of our weights is called in the public checkpoints, and in which shape it lies there.

Hugging Face's GPT-2 keeps OpenAI's `Conv1D`, whose weights are (in, out), where `nn.Linear` has (out, in).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gpt.config import GPTConfig
from gpt.tensor_file import Shape

# ours -> theirs, outputs and inputs as multiples of the width
LINEARS = {
    "attention.qkv": ("attn.c_attn", 3, 1),
    "attention.projection": ("attn.c_proj", 1, 1),
    "feed_forward.expand": ("mlp.c_fc", 4, 1),
    "feed_forward.contract": ("mlp.c_proj", 1, 4),
}
NORMS = {"norm1": "ln_1", "norm2": "ln_2"}


class Weight(NamedTuple):
    """One tensor: our name, theirs, the shape in their file, and whether it is ours transposed."""

    ours: str
    theirs: str
    shape: Shape
    transposed: bool = False


def body_weights(config: GPTConfig) -> Iterator[Weight]:
    """Every tensor of the body (all but a head). A q/k/v bias is always there: theirs has one, if only of zeros."""
    width = config.emb_dim
    yield Weight("embeddings.token.weight", "transformer.wte.weight", (config.vocab_size, width))
    yield Weight("embeddings.position.weight", "transformer.wpe.weight", (config.context_length, width))
    for layer in range(config.n_layers):
        ours, theirs = f"blocks.{layer}", f"transformer.h.{layer}"
        for name, (other, n_out, n_in) in LINEARS.items():
            shape = (n_in * width, n_out * width)
            yield Weight(f"{ours}.{name}.weight", f"{theirs}.{other}.weight", shape, transposed=True)
            yield Weight(f"{ours}.{name}.bias", f"{theirs}.{other}.bias", (n_out * width,))
        for name, other in NORMS.items():
            yield Weight(f"{ours}.{name}.weight", f"{theirs}.{other}.weight", (width,))
            yield Weight(f"{ours}.{name}.bias", f"{theirs}.{other}.bias", (width,))
    yield Weight("final_norm.weight", "transformer.ln_f.weight", (width,))
    yield Weight("final_norm.bias", "transformer.ln_f.bias", (width,))
