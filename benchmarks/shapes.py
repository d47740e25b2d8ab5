"""The shapes that benchmarks train and run, from the presets where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from gpt.config import GPTConfig
from gpt.seeds import generator
from gpt.train_settings import TrainSettings
from pipeline.params import read_yaml

ROOT = Path(__file__).resolve().parent.parent
SEED = 123


@dataclass(frozen=True)
class Shape:
    """A model, and the rows of one of its training steps."""

    config: GPTConfig
    batch_size: int

    @property
    def tokens(self) -> int:
        return self.batch_size * self.config.context_length

    def operations(self, n_parameters: int) -> float:
        """Of one training step: a token takes 6 a parameter, and for attention 12 · layers · width · context
        (Chowdhery et al., 2022, appendix B)."""
        config = self.config
        return self.tokens * (6.0 * n_parameters + 12 * config.n_layers * config.emb_dim * config.context_length)

    def __str__(self) -> str:
        config = self.config
        return (
            f"{config.n_layers} layers, {config.n_heads} heads, width {config.emb_dim}, context "
            f"{config.context_length}, batch {self.batch_size}, vocabulary {config.vocab_size:,}"
        )


@cache
def shape(name: str) -> Shape:
    """`medium`, `gpt2` (GPT-2's 124M as published), `gpt2-gpu` (with as many rows as keep a GPU busy), or a preset of
    conf/model. There is no dropout: each side would draw its own."""
    if name == "medium":
        return Shape(config_of(4096, context_length=256, emb_dim=384, n_heads=6, n_layers=6), 8)
    if name in ("gpt2", "gpt2-gpu"):
        batch_size = 1 if name == "gpt2" else 16
        return Shape(config_of(50_257, context_length=1024, emb_dim=768, n_heads=12, n_layers=12), batch_size)
    preset = read_yaml(ROOT / "conf" / "model" / f"{name}.yaml")
    vocabulary = 50_257 if name != "nano" else read_yaml(ROOT / "params.yaml")["tokenize"]["trained_vocab_size"]
    return Shape(config_of(vocabulary, **preset["model"]), preset["pretrain"]["batch_size"])


def config_of(vocab_size: int, **sizes: Any) -> GPTConfig:
    began = {"embedding_std": 0.02, "position_init": "normal"}
    return GPTConfig(
        **{"vocab_size": vocab_size, "qkv_bias": True, "tie_embeddings": True, **began, **sizes, "dropout": 0.0}
    )


def settings(optimizer: str = "adamw", steps: int = 1_000_000) -> TrainSettings:
    """Of a training that is never evaluated nor kept: only its steps matter."""
    return TrainSettings(
        total_steps=steps,
        optimizer=optimizer,
        learning_rate=1e-4,
        min_learning_rate=1e-4,
        warmup_steps=0,
        weight_decay=0.1,
        beta1=0.9,
        beta2=0.95,
        grad_clip=1.0,
        accumulation_steps=1,
        eval_interval=steps,
        checkpoint_interval=0,
    )


def some_tokens(of: Shape, step: int) -> torch.Tensor:
    """(batch_size, context_length + 1) int64, drawn evenly: what stands in a row costs nothing."""
    draws = generator(SEED, "benchmark", step)
    return torch.randint(of.config.vocab_size, (of.batch_size, of.config.context_length + 1), generator=draws)
