"""Chapter 7.0: LoRA (Hu et al., 2021): train a small correction of each matrix instead of the matrix.

A frozen weight W gets ΔW = B · A · alpha / rank, where A (rank, in) and B (out, rank) are thin. B begins as zero, so
the adapted model starts exactly as the base. The fused q, k, v matrix gets one adapter for each of the three: their
A's stacked, their B's along the diagonal of a block matrix.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt.dropout import Dropout
from gpt.model import GPT


class LoRALinear(nn.Module):
    """A frozen linear layer with `parts` adapters, each for an equal share of its outputs."""

    def __init__(
        self, base: nn.Linear, rank: int, alpha: float, dropout: float, parts: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.rank = rank
        self.alpha = alpha
        self.dropout = Dropout(dropout)
        a = torch.empty(parts * rank, base.in_features)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
        self.lora_a = nn.Parameter(a.to(base.weight))
        self.lora_b = nn.Parameter(base.weight.new_zeros(parts, base.out_features // parts, rank))

    @property
    def scale(self) -> float:
        """What B · A is multiplied by."""
        return self.alpha / self.rank

    @property
    def stacked_b(self) -> Tensor:
        """The adapters' B's as one block-diagonal matrix, (out, parts · rank)."""
        return torch.block_diag(*self.lora_b) if len(self.lora_b) > 1 else self.lora_b[0]

    @property
    def delta(self) -> Tensor:
        """The correction of the weight, (out, in)."""
        return self.stacked_b @ self.lora_a * self.scale

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out)."""
        narrow = F.linear(self.dropout(x), self.lora_a) * self.scale  # scaled here, where it is thin
        return self.base(x) + F.linear(narrow, self.stacked_b)


def add_lora(model: nn.Module, rank: int, alpha: float, dropout: float, generator: torch.Generator) -> int:
    """Freeze the model and put adapters on every linear layer, head included, in place; returns the trainable count.

    `generator` (on the CPU) draws each A. Raises ValueError on a rank below 1, or a model that has adapters already.
    """
    if rank < 1:
        raise ValueError(f"lora.rank is {rank}: it must be at least 1")
    if lora_layers(model):
        raise ValueError("this model has adapters already: merge them before adding others")
    model.requires_grad_(False)
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)]:
        parts = 3 if name.endswith(".qkv") else 1
        model.set_submodule(name, LoRALinear(layer, rank, alpha, dropout, parts, generator))
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@torch.no_grad()
def merge_lora(model: nn.Module) -> None:
    """Add each correction to its weight and drop the adapters, in place: an ordinary model with the same outputs.

    A head that shared the token embedding's matrix gets its own, since only the head was corrected.
    """
    for name, layer in lora_layers(model).items():
        merged = layer.base
        merged.weight = nn.Parameter(merged.weight + layer.delta, requires_grad=False)
        model.set_submodule(name, merged)
    if isinstance(model, GPT) and model.head.weight is not model.embeddings.token.weight:
        model.config = replace(model.config, tie_embeddings=False)


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """The adapted layers by name, in the model's order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}


def lora_state(model: nn.Module) -> dict[str, Tensor]:
    """The adapters' own tensors by name: all that training changed."""
    return {name: p for name, p in model.state_dict().items() if name.endswith((".lora_a", ".lora_b"))}
