"""Chapter 7: the GPT as an assistant that follows instructions, from the base and, beside it, from random weights.

python -m stages.instruct
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import tiktoken
import torch
from torch import nn

from corpus.prompts import extract_answer, format_answer, format_prompt
from gpt.collate import buckets_up_to, instruction_batch, read_counted
from gpt.evaluate import mean_loss
from gpt.generate import generate
from gpt.hf_format import save_gpt2
from gpt.launch import launch
from gpt.lora import add_lora, merge_lora
from gpt.loss import answer_loss, next_token_loss
from gpt.model import GPT
from gpt.seeds import generator
from gpt.settings import write_settings
from gpt.tokenizer_files import load_encoding
from gpt.train import TrainResult
from pipeline.stage import Stage, run
from stages.bundles import log_assistant
from stages.lines import read_lines, write_lines
from stages.models import runtime_of, shares, starting_model
from stages.training import fit, kept_row, order_of, rows_at, steps_of, tokens_per_step, write_curves

INSTRUCTIONS, TOKENIZER = Path("data/samples/instructions"), Path("data/tokenizer")
PARTS = (
    "train",
    "validation",
    "test",
    "combinations",
)  # the last one only where the instructions bring their own split
ANSWERED_AT_ONCE = 64  # sorted by length: 384 prompts in half the time of 8 at once in file order; 128 gain nothing
Rows = list[tuple[list[int], list[int]]]


def encode(encoding: tiktoken.Encoding, entries: list[dict[str, Any]], template: str) -> Rows:
    """(prompt tokens, answer tokens) of every entry."""
    return [
        (
            encoding.encode_ordinary(format_prompt(entry, template)),
            encoding.encode_ordinary(format_answer(entry, template)),
        )
        for entry in entries
    ]


def with_room(rows: dict[str, Rows], limit: int) -> dict[str, Rows]:
    """The rows whose prompt leaves room for an answer in `limit` tokens; ValueError when a part has none."""
    kept = {part: [pair for pair in pairs if len(pair[0]) < limit] for part, pairs in rows.items()}
    for part, pairs in kept.items():
        if not pairs:
            shortest = min(len(prompt) for prompt, _ in rows[part])
            raise ValueError(
                f"no prompt of the {part} part leaves room for an answer: the shortest has {shortest} tokens, "
                f"instruct.max_length (or else model.context_length) allows rows of {limit}"
            )
    return kept


def train_assistant(
    stage: Stage, model: GPT, rows: dict[str, Rows], encoding: tiktoken.Encoding, variant: str
) -> TrainResult:
    params = stage.params.instruct
    limit = params.max_length or model.config.context_length
    order = order_of(stage, "instructions", [len(prompt) + len(answer) for prompt, answer in rows["train"]])
    total_steps = steps_of(params, order)
    longest = min(limit, max(len(prompt) + len(answer) for part in rows.values() for prompt, answer in part))
    runtime = runtime_of(stage, model, total_steps * tokens_per_step(params, longest))
    buckets = buckets_up_to(longest) if runtime.compile else None  # few widths: each costs the compiler one more pass

    def collate(chosen: Rows) -> tuple[torch.Tensor, ...]:
        end, masked = encoding.eot_token, params.mask_prompt
        found = instruction_batch(chosen, end, mask_prompt=masked, max_length=limit, buckets=buckets)
        return read_counted(*found, buckets) if masked else found

    loss = answer_loss if params.mask_prompt else next_token_loss
    lengths = [len(prompt) + len(answer) for prompt, answer in rows["validation"]]
    held_out = [
        collate([rows["validation"][row] for row in batch]) for batch in batches_by_length(lengths, params.batch_size)
    ]

    def batch(step: int, micro: int) -> tuple[torch.Tensor, ...]:
        return collate([rows["train"][row] for row in rows_at(params, order, step, micro)])

    def evaluate(module: nn.Module) -> dict[str, float]:
        return {"validation_loss": mean_loss(module, loss, held_out, runtime)[0]}

    return fit(
        stage,
        model,
        params,
        runtime,
        total_steps=total_steps,
        batch=batch,
        loss=loss,
        evaluate=evaluate,
        variant=variant,
        unit="answer_tokens" if params.mask_prompt else "tokens",
    )


def answer(
    stage: Stage, model: GPT, entries: list[dict[str, Any]], encoding: tiktoken.Encoding, part: str, variant: str
) -> list[dict[str, Any]]:
    """The greedy answer to every entry, beside its reference; prompts that fill the context are cut at the front."""
    params = stage.params.instruct
    room = model.config.context_length - 1
    prompts = [encoding.encode_ordinary(format_prompt(entry, params.template))[-room:] for entry in entries]
    texts: dict[int, str] = {}
    with stage.progress(len(entries), "answers", f"{variant} {part}") as progress:
        for batch in batches_by_length([len(prompt) for prompt in prompts], ANSWERED_AT_ONCE):
            written = generate(
                model,
                [prompts[index] for index in batch],
                max_new_tokens=params.max_new_tokens,
                stop_token=encoding.eot_token,
            )
            for index, tokens in zip(batch, written, strict=True):
                texts[index] = extract_answer(encoding.decode(tokens), params.template)
                progress.advance()
    return [
        {"variant": variant, "part": part, "index": index, "kind": entry["kind"], "answer": texts[index]}
        | {"instruction": entry["instruction"], "input": entry["input"], "reference": entry["output"]}
        for index, entry in enumerate(entries)
    ]


def batches_by_length(lengths: list[int], size: int) -> list[list[int]]:
    """The rows' numbers in batches of neighbours in length: padding and stragglers cost time."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    return [order[start : start + size] for start in range(0, len(order), size)]


def main(stage: Stage) -> None:
    params, seed = stage.params.instruct, stage.params.seed
    encoding = load_encoding(TOKENIZER)
    entries = {part: read_lines(file) for part in PARTS if (file := INSTRUCTIONS / f"{part}.jsonl").is_file()}
    rows = {part: encode(encoding, entries[part], params.template) for part in entries}
    results: dict[str, TrainResult] = {}
    answers: list[dict[str, Any]] = []
    metrics: dict[str, Any] = {}
    for variant in params.variants:
        model = starting_model(variant, seed)
        size = model.n_parameters
        usable = with_room(rows, params.max_length or model.config.context_length)
        if params.tuning == "lora":
            add_lora(model, params.lora_rank, params.lora_alpha, 0.0, generator(seed, "adapters"))
        share = shares(model, size)
        result = train_assistant(stage, model, usable, encoding, variant)
        if not stage.first:
            continue
        merge_lora(model)
        folder = stage.out("models/assistant") / variant
        save_gpt2(model, folder, TOKENIZER)
        write_settings(folder, {"template": params.template, "max_new_tokens": params.max_new_tokens})
        for part in [part for part in entries if part != "train"]:
            answers += answer(stage, model, entries[part], encoding, part, variant)
        log_assistant(stage, folder, TOKENIZER, f"assistant-{variant}")
        results[variant] = result
        metrics[variant] = {
            "validation_loss": kept_row(result, params.keep)["validation_loss"],
            "rows_left_out": sum(len(rows[part]) - len(usable[part]) for part in rows),
            **share,
        }
    write_lines(stage.out("reports/instruct/answers.jsonl"), answers)
    write_curves(stage, results)
    stage.log_artifact(stage.out("reports/instruct/answers.jsonl"))
    stage.log_dataset("instructions", INSTRUCTIONS, "train")
    stage.write_metrics(metrics)


if __name__ == "__main__":
    sys.exit(run("instruct", main, launch))
