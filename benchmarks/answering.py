"""Answering the instruction test set: the instruct stage's batches beside one prompt after the other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tiktoken

from benchmarks.chapters import encoding, instructions, stage_of, trained
from benchmarks.measure import interleaved
from benchmarks.shapes import SEED, shape
from benchmarks.table import Goal, Row
from benchmarks.topics import Options
from benchmarks.worker import Worker
from corpus.prompts import extract_answer, format_prompt
from gpt.generate import generate
from gpt.hf_format import load_gpt2
from gpt.model import GPT
from gpt.seeds import generator
from gpt.tokenizer_files import load_encoding
from stages.instruct import answer
from stages.models import runtime_of

ROUNDS = 3
PROMPTS = 256
MODEL, TOKENIZER = Path("models/assistant/pretrained"), Path("data/tokenizer")


def assistant() -> tuple[GPT, tiktoken.Encoding]:
    """The trained one, whose answers end; without one random weights, which write as far as they may."""
    if trained(MODEL):
        return load_gpt2(MODEL), load_encoding(TOKENIZER)
    return GPT(shape("nano").config, generator(SEED, "weights")), encoding()


def ours() -> Callable[[], list[Any]]:
    """How many words the answers have, and the digest of all."""
    stage = stage_of("instruct")
    model, read = assistant()
    runtime_of(stage, model).prepare(model)
    entries = instructions(PROMPTS, "test")

    def whole() -> list[Any]:
        return told([found["answer"] for found in answer(stage, model, entries, read, "test", "bench")])

    return whole


def one_by_one() -> Callable[[], list[Any]]:
    stage = stage_of("instruct")
    params = stage.params.instruct
    model, read = assistant()
    runtime_of(stage, model).prepare(model)
    prompts = [read.encode_ordinary(format_prompt(entry, params.template)) for entry in instructions(PROMPTS, "test")]

    def whole() -> list[Any]:
        answers = []
        for prompt in prompts:
            (written,) = generate(model, [prompt], max_new_tokens=params.max_new_tokens, stop_token=read.eot_token)
            answers.append(extract_answer(read.decode(written), params.template))
        return told(answers)

    return whole


def told(answers: list[str]) -> list[Any]:
    digest = hashlib.sha256(json.dumps(answers).encode()).hexdigest()
    return [sum(len(text.split()) for text in answers), digest]


def rows(options: Options) -> Iterator[Row]:
    with Worker("benchmarks.answering:ours") as here, Worker("benchmarks.answering:one_by_one") as peer:
        found = interleaved({"ours": here, "peer": peer}, ROUNDS)
    same = "the same answers" if here.value == peer.value else "OTHER ANSWERS"
    whose = "the trained assistant" if trained(MODEL) else "random weights (no trained assistant here)"
    note = f"{same}, {here.value[0] / PROMPTS:.1f} words each; {PROMPTS / found['ours'].least:,.0f} answers/s"
    yield Row(
        f"{PROMPTS} prompts, {whose}", found["ours"], "one prompt after the other", found["peer"], Goal(4.0), note
    )
