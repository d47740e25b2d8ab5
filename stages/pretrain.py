"""Chapters 3 to 5: the GPT, trained from scratch on the text, or loaded from GPT-2's public weights and trained on.

python -m stages.pretrain
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from gpt.config import GPTConfig
from gpt.evaluate import Rows, window_loss
from gpt.generate import generate
from gpt.hf_format import load_gpt2, save_gpt2
from gpt.launch import launch
from gpt.loss import next_token_loss
from gpt.model import GPT
from gpt.runtime import Runtime, peak_flops, share_of_peak
from gpt.seeds import derive, generator
from gpt.settings import write_settings
from gpt.tokenizer_files import load_encoding
from pipeline.progress import say
from pipeline.stage import Stage, run
from stages.bundles import log_base
from stages.lines import write_lines
from stages.models import runtime_of, shares
from stages.training import evaluations, fit, kept_row, rows_at, steps_of, tokens_per_step, write_curves
from stages.windows import TOKENS, floor_of, mixed_order, packed, rows_of, whole_documents

TOKENIZER, WEIGHTS = Path("data/tokenizer"), Path("data/raw/weights")


def build_model(stage: Stage, vocab_size: int) -> GPT:
    shape = stage.params.model
    init = stage.params.pretrain.init
    config = GPTConfig(vocab_size=vocab_size, **shape.model_dump())
    if init == "scratch":
        return GPT(config, generator=generator(stage.params.seed, "weights"))
    model = load_gpt2(WEIGHTS / init, dropout=shape.dropout)
    # how weights began is no matter any more
    began = replace(model.config, embedding_std=config.embedding_std, position_init=config.position_init)
    if began != config:
        raise ValueError(f"{WEIGHTS / init} has the shape {model.config}: params.yaml and the tokenizer say {config}")
    return model


def main(stage: Stage) -> None:
    params, seed = stage.params.pretrain, stage.params.seed
    encoding = load_encoding(TOKENIZER)
    model = build_model(stage, encoding.n_vocab)
    rows = {part: rows_of(part, model.config.context_length) for part in ("train", "validation")}
    from_the_beginning = packed()  # then every text begins with an end-of-text token
    order = mixed_order(derive(seed, "rows"))
    total_steps = steps_of(params, order)
    runtime = runtime_of(stage, model, total_steps * tokens_per_step(params, model.config.context_length))
    prompt = [encoding.eot_token] * from_the_beginning + encoding.encode_ordinary(params.sample.prompt)

    def batch(step: int, micro: int) -> tuple[torch.Tensor, ...]:
        return rows["train"].batch(rows_at(params, order, step, micro))

    def evaluate(module: nn.Module) -> dict[str, float]:
        size, most = params.batch_size, params.eval_batches
        return {f"{name}_loss": window_loss(module, part, size, runtime, most)[0] for name, part in rows.items()}

    def write_sample(step: int, module: nn.Module) -> dict[str, str]:
        """The prompt continued, kept in the history: a resumed run writes the same samples."""
        options = params.sample.model_dump(exclude={"prompt"})
        assert isinstance(module, GPT)
        draws = generator(seed, "sample", step)
        written = generate(module, [prompt], **options, stop_token=encoding.eot_token, generator=draws)[0]
        text = params.sample.prompt + encoding.decode(written)
        say(f"after {step} steps it writes: {' '.join(text.split())}")
        return {"sample": text}

    result = fit(
        stage,
        model,
        params,
        runtime,
        total_steps=total_steps,
        batch=batch,
        loss=next_token_loss,
        evaluate=evaluate,
        on_evaluation=write_sample,
    )
    if not stage.first:
        return
    save_gpt2(model, stage.out("models/base"), TOKENIZER)
    write_settings(stage.out("models/base"), {"begins_with_end_of_text": from_the_beginning})
    log_base(stage, stage.out("models/base"), TOKENIZER, "base")
    pace = result.tokens / result.seconds
    stage.log_costs(
        {"share_of_peak": share_of_peak(model.n_parameters, pace / stage.params.runtime.processes, peak_flops(runtime))}
    )
    evaluated = evaluations(result)
    samples = [{"step": row["step"], "text": row["sample"]} for row in evaluated if "sample" in row]
    write_lines(stage.out("reports/pretrain/samples.jsonl"), samples)
    write_curves(stage, {"base": result})
    stage.log_artifact(stage.out("reports/pretrain/samples.jsonl"))
    stage.log_dataset("tokens", TOKENS, "train")
    kept, best = kept_row(result, params.keep), kept_row(result, "best")
    stage.write_metrics(
        {
            "train_loss": kept["train_loss"],
            "validation_loss": kept["validation_loss"],
            "validation_perplexity": math.exp(kept["validation_loss"]),
            "kept_step": kept["step"],
            "best_validation_loss": best["validation_loss"],
            "best_step": best["step"],
            "steps": total_steps,
            "tokens_trained_on": result.tokens,
            **{f"first_{name}": evaluated[0][name] for name in ("train_loss", "validation_loss")},
            **{f"last_{name}": evaluated[-1][name] for name in ("train_loss", "validation_loss")},
            **shares(model),
            **compared_with_floor(model, rows["validation"], params.batch_size, runtime),
        }
    )


def compared_with_floor(model: GPT, rows: Rows, batch_size: int, runtime: Runtime) -> dict[str, float]:
    """The whole validation part's loss beside its entropy floor, where that is known and documents are read whole."""
    floor = floor_of("validation")
    if floor is None or not whole_documents("validation"):
        return {}
    loss, _ = window_loss(model, rows, batch_size, runtime)
    return {"entropy_floor": floor, "whole_validation_loss": loss, "loss_over_floor": loss / floor}


if __name__ == "__main__":
    sys.exit(run("pretrain", main, launch))
