"""Time to a loss: the default recipe beside AdamW with warm-up and cosine, on the same rows, model and machine.

Three settings: the default's own rows, and a text file (TEXT=…; by default the embedded stories) in pieces of words and
as bytes. The recipe trains for SIZE steps (300 by default) and ends at some validation loss. For so short a schedule it
takes a higher peak and less momentum than params.yaml, found on the default's rows. AdamW's peak is sought anew on each
text, in steps of two, with a schedule of three times as many steps; the best peak then gets one of twice as many, too.
Its time is that of its first evaluation at or below that loss. It takes the data of `make run`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from benchmarks.chapters import stage_of
from benchmarks.measure import Times
from benchmarks.shapes import ROOT, SEED
from benchmarks.table import Goal, Row
from benchmarks.tokenizing import corpus, texts_of
from benchmarks.topics import Options
from benchmarks.worker import Worker
from gpt.config import GPTConfig
from gpt.evaluate import Rows, window_loss
from gpt.loss import next_token_loss
from gpt.model import GPT
from gpt.order import MixedOrder
from gpt.seeds import derive, generator
from gpt.tokenizer import train_encoding
from gpt.tokenizer_files import load_encoding
from gpt.train import Batch, train
from gpt.windows import Windows, starts_within
from pipeline.params import load_params
from stages.models import runtime_of
from stages.pretrain import TOKENIZER
from stages.training import evaluations, rows_at, settings_of
from stages.windows import SAMPLES, mixed_order, rows_of

STEPS = 300
LONGER, SHORTER = 3, 2  # AdamW's schedules, in the recipe's
EVERY = 25  # steps, from one evaluation to the next
OURS = {"learning_rate": 1.2e-2, "beta1": 0.9}
PEAK = 2e-3  # where AdamW's is sought from
MEGABYTES = 10.0  # of text, where none is given
VALIDATION = 0.04  # of a text file, from its end
SETTINGS = {
    "default": "the default's packed documents",
    "pieces": "a text file, in pieces of words",
    "bytes": "a text file, byte by byte",
}


Curve = list[list[float]]
"""[seconds in updates, validation loss] of every evaluation."""


@dataclass(frozen=True)
class Material:
    """What is learned from, in which order, and what measures it."""

    train: Rows
    validation: Rows
    order: MixedOrder
    vocab_size: int


def material(setting: str, text: str, context_length: int) -> Material:
    """Of one of SETTINGS; text: the file for those that read one."""
    if setting == "default":
        rows = {part: rows_of(part, context_length) for part in ("train", "validation")}
        return Material(rows["train"], rows["validation"], mixed_order(derive(SEED, "rows")), vocabulary())
    whole = Path(text).read_bytes()
    border = round(len(whole) * (1 - VALIDATION))
    halves = whole[:border], whole[border:]
    if setting == "bytes":
        size, tokens = 256, [np.frombuffer(half, np.uint8) for half in halves]
    else:
        words = [half.decode("utf-8", errors="replace") for half in halves]
        encoding = train_encoding(words[:1], load_params(ROOT / "params.yaml").tokenize.trained_vocab_size)
        size, tokens = encoding.n_vocab, [np.array(encoding.encode_ordinary(half), np.uint16) for half in words]
    starts = [starts_within([(0, len(part))], context_length, context_length) for part in tokens]
    learned, measured = (Windows(part, at, context_length) for part, (at, _) in zip(tokens, starts, strict=True))
    if not len(learned) or not len(measured):
        raise ValueError(f"{text} is too short: its last {VALIDATION:.0%} must hold a row of {context_length} tokens")
    return Material(learned, measured, MixedOrder(derive(SEED, "rows"), starts[0][1]), size)


def vocabulary() -> int:
    return load_encoding(TOKENIZER).n_vocab


def ours(setting: str, text: str, steps: int) -> Callable[[], Curve]:
    """The recipe of params.yaml, tuned for so short a schedule."""
    return training(setting, text, steps, {**OURS, "warmup_steps": steps // 10}, {})


def adamw(setting: str, text: str, steps: int, peak: float) -> Callable[[], Curve]:
    """GPT-2's start and the usual schedule: a tenth warm-up, then a cosine down to a tenth."""
    schedule = {"learning_rate": peak, "min_learning_rate": peak / 10, "warmup_steps": steps // 10}
    settings = {"optimizer": "adamw", "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.1, "grad_clip": 1.0}
    return training(setting, text, steps, {**settings, **schedule}, {"position_init": "normal", "embedding_std": 0.02})


def training(
    setting: str, text: str, steps: int, changes: dict[str, Any], beginning: dict[str, Any]
) -> Callable[[], Curve]:
    """The curve of a training that begins anew at each call; one that diverges ends there."""

    def whole() -> Curve:
        stage = stage_of("pretrain", eval_interval=EVERY, checkpoint_interval=0, **changes)
        params, shape = stage.params.pretrain, stage.params.model.model_dump()
        of = material(setting, text, stage.params.model.context_length)
        config = GPTConfig(vocab_size=of.vocab_size, **shape)
        model = GPT(replace(config, **beginning), generator(SEED, "weights"))
        runtime = runtime_of(stage, model)
        spent, seen = [0.0], [0.0]

        def batch(step: int, micro: int) -> Batch:
            return of.train.batch(rows_at(params, of.order, step, micro))

        def evaluate(module: nn.Module) -> dict[str, float]:
            loss, _ = window_loss(module, of.validation, params.batch_size, runtime, params.eval_batches)
            return {"validation_loss": loss, "seconds": spent[0]}

        def on_step(step: int, numbers: dict[str, float]) -> None:
            tokens = numbers["tokens"] - seen[0]
            seen[0] = numbers["tokens"]
            spent[0] += tokens / numbers["tokens_per_second"]

        try:
            result = train(
                model,
                loss=next_token_loss,
                batch=batch,
                settings=settings_of(params, steps),
                runtime=runtime,
                seed=SEED,
                evaluate=evaluate,
                on_step=on_step,
            )
        except FloatingPointError:
            return [[spent[0], math.inf]]
        return [[row["seconds"], row["validation_loss"]] for row in evaluations(result)]

    return whole


def rows(options: Options) -> Iterator[Row]:
    if not (SAMPLES / "train.npy").is_file():
        raise ValueError(f"{SAMPLES} is missing: `make run` makes what this benchmark learns from")
    text = str(options.text or stories(options.folder))
    for setting, told in SETTINGS.items():
        yield row(setting, told, text, round(options.size or STEPS))


def row(setting: str, told: str, text: str, steps: int) -> Row:
    given = {"setting": setting, "text": text}
    with Worker("benchmarks.losses:ours", **given, steps=steps) as here:
        here()
    seconds, loss = here.value[-1]

    def curve(length: int, peak: float) -> Curve:
        with Worker("benchmarks.losses:adamw", **given, steps=length * steps, peak=peak) as peer:
            peer()
        result: Curve = peer.value
        return result

    found = tuned(curve, loss)
    (length, peak), best = min(found.items(), key=lambda item: rank(item[1], loss))
    at = first_at(best, loss)
    ends = ", ".join(f"{of[-1][1]:.3f} ({many * steps:,} steps, {value:g})" for (many, value), of in found.items())
    note = f"AdamW ended at {ends}" + ("" if at is not None else ": it had not reached it")
    work = f"{told}: validation loss {loss:.3f}, where {steps} steps of the recipe end"
    peer = Times((best[-1][0] if at is None else at,))
    return Row(work, Times((seconds,)), f"AdamW, {length * steps:,} steps, peak {peak:g}", peer, Goal(3.0), note)


def tuned(curve: Callable[[int, float], Curve], loss: float) -> dict[tuple[int, float], Curve]:
    """AdamW's curves by length of the schedule and peak: the best peak's in both lengths, and those of the peaks that
    were tried on the way, up to half and twice the best one, in the longer."""
    found: dict[tuple[int, float], Curve] = {}
    peak = PEAK
    while new := [value for value in (peak, peak / 2, peak * 2) if (LONGER, value) not in found]:
        found[LONGER, new[0]] = curve(LONGER, new[0])
        _, peak = min(found, key=lambda one: rank(found[one], loss))
    found[SHORTER, peak] = curve(SHORTER, peak)
    return found


def rank(curve: Curve, loss: float) -> tuple[float, float]:
    """Of two curves the smaller is the better: the one that came to the loss first, or else ended lower."""
    at = first_at(curve, loss)
    return (math.inf if at is None else at, curve[-1][1])


def first_at(curve: Curve, loss: float) -> float | None:
    """Seconds until the first evaluation at or below a loss; None: it never got there."""
    return next((seconds for seconds, value in curve if value <= loss), None)


def stories(folder: Path) -> Path:
    """The embedded stories as one plain text, made once."""
    file = folder / "stories.txt"
    if not file.is_file():
        half = file.with_suffix(".part")
        half.write_text("\n\n".join(texts_of(corpus(folder, MEGABYTES))), encoding="utf-8")
        half.rename(file)
    return file
