"""Chapters 3 to 5: the GPT, trained from scratch on the text, or loaded from GPT-2's public weights and trained on.

python -m stages.pretrain
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import torch
from torch import nn

from gpt.config import GPTConfig
from gpt.evaluate import window_loss
from gpt.generate import generate
from gpt.hf_format import load_gpt2, save_gpt2
from gpt.loss import language_model_loss
from gpt.model import GPT
from gpt.seeds import generator
from gpt.tokenizer import load_encoding
from gpt.windows import MixedOrder
from pipeline.stage import Stage, run
from stages.lines import write_lines
from stages.models import shares
from stages.training import fit, steps_of, write_curve
from stages.windows import SAMPLES, TOKENS, windows_of

TOKENIZER, WEIGHTS = Path("data/tokenizer"), Path("data/raw/weights")


def build_model(stage: Stage, vocab_size: int) -> GPT:
    shape = stage.params.model
    init = stage.params.pretrain.init
    config = GPTConfig(vocab_size=vocab_size, **shape.model_dump())
    if init == "scratch":
        return GPT(config, generator=generator(stage.params.seed, "weights"))
    model = load_gpt2(WEIGHTS / init, dropout=shape.dropout)
    if model.config != config:
        raise ValueError(f"{WEIGHTS / init} has the shape {model.config}: params.yaml and the tokenizer say {config}")
    return model


def main(stage: Stage) -> None:
    params, seed = stage.params.pretrain, stage.params.seed
    encoding = load_encoding(TOKENIZER)
    model = build_model(stage, encoding.n_vocab)
    windows = {part: windows_of(part, model.config.context_length) for part in ("train", "validation")}
    mixture = json.loads((SAMPLES / "mixture.json").read_text(encoding="utf-8"))
    order = MixedOrder(seed, mixture["windows"], mixture["probabilities"])
    total_steps = steps_of(params, len(windows["train"]))
    per_epoch = total_steps // params.epochs
    prompt = encoding.encode_ordinary(params.sample.prompt)

    def batch(step: int, micro: int) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, position = divmod(step, per_epoch)
        start = (position * params.accumulation_steps + micro) * params.batch_size
        return windows["train"].batch(order.epoch(epoch)[start : start + params.batch_size])

    def loss(module: nn.Module, rows: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        inputs, targets = rows
        return language_model_loss(module(inputs), targets)

    def evaluate(module: nn.Module) -> dict[str, float]:
        size, most = params.batch_size, params.eval_batches
        return {f"{name}_loss": window_loss(module, rows, size, most)[0] for name, rows in windows.items()}

    def write_sample(step: int, module: nn.Module) -> dict[str, str]:
        """The prompt continued, kept in the history: a resumed run writes the same samples."""
        options = params.sample.model_dump(exclude={"prompt"})
        written = generate(module, [prompt], **options, generator=generator(seed, "sample", step))[0]
        text = encoding.decode(prompt + written)
        print(f"step {step}: {text!r}", flush=True)
        return {"sample": text}

    result = fit(
        stage,
        model,
        params,
        total_steps=total_steps,
        batch=batch,
        loss=loss,
        evaluate=evaluate,
        on_evaluation=write_sample,
    )
    save_gpt2(model, stage.out("models/base"), TOKENIZER)
    samples = [{"step": row["step"], "text": row["sample"]} for row in result.history]
    write_lines(stage.out("reports/pretrain/samples.jsonl"), samples)
    write_curve(stage, {"base": result.history})
    stage.log_artifact(stage.out("reports/pretrain/samples.jsonl"))
    stage.log_dataset("tokens", TOKENS, "train")
    best = min(result.history, key=lambda row: row["validation_loss"])
    last = result.history[-1]
    kept = best if params.keep == "best" else last
    stage.write_metrics(
        {
            "train_loss": kept["train_loss"],
            "validation_loss": kept["validation_loss"],
            "validation_perplexity": math.exp(kept["validation_loss"]),
            "kept_step": kept["step"],
            "best_validation_loss": best["validation_loss"],
            "best_step": best["step"],
            "last_train_loss": last["train_loss"],
            "last_validation_loss": last["validation_loss"],
            "first_train_loss": result.history[0]["train_loss"],
            "first_validation_loss": result.history[0]["validation_loss"],
            "steps": total_steps,
            "tokens_trained_on": result.tokens,
            **shares(model),
        }
    )


if __name__ == "__main__":
    sys.exit(run("pretrain", main))
