"""The model that a stage starts from, how large it is, and what it runs on."""

from __future__ import annotations

import os
from pathlib import Path

from gpt.heads import n_trainable
from gpt.hf_format import load_gpt2
from gpt.model import GPT, Transformer
from gpt.runtime import Runtime, choose_runtime
from gpt.seeds import generator
from pipeline import paths
from pipeline.stage import Stage

BASE = Path("models/base")


def starting_model(variant: str, seed: int) -> GPT:
    """The pre-trained base, or, for "random", its shape with fresh random weights."""
    base = load_gpt2(BASE)
    return base if variant != "random" else GPT(base.config, generator=generator(seed, "weights"))


def runtime_of(stage: Stage, model: Transformer, total_tokens: int = 0) -> Runtime:
    """Device, precision and compilation: a function of parameters, hardware and the training's size."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(paths.inductor_cache()))
    options = stage.params.runtime
    return choose_runtime(
        options.device,
        options.precision,
        options.compile,
        options.threads,
        model.training_operations(total_tokens),
        model.n_parameters,
    )


def log_runtime(stage: Stage, runtime: Runtime, variant: str = "") -> None:
    """What the bytes depend on besides parameters and code, as tags of the MLflow run; a variant's choices apart."""
    chosen = ("compile", "compiler", "dtype")
    label = f"{variant}." if variant else ""
    facts = runtime.describe().items()
    stage.log_tags({f"runtime.{label if name in chosen else ''}{name}": value for name, value in facts})


def shares(model: Transformer, total: int | None = None) -> dict[str, float]:
    """All parameters, and those trained; `total` where adapters should not count among all."""
    trained, whole = n_trainable(model), total or model.n_parameters
    return {"parameters": whole, "trainable_parameters": trained, "trainable_share": trained / whole}
