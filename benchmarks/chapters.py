"""What the chapters' own code is given here: a stage outside of DVC and MLflow, and the embedded world's data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import tiktoken
import torch

from benchmarks.shapes import ROOT, SEED, shape
from corpus.world.instructions import some_instructions
from corpus.world.messages import some_messages
from corpus.world.stories import story_lines
from gpt.hf_format import load_gpt2
from gpt.model import GPT
from gpt.seeds import generator
from gpt.tokenizer import train_encoding
from gpt.tokenizer_files import load_encoding
from pipeline.graph import load_graph
from pipeline.params import load_params
from pipeline.signals import Stopper
from pipeline.stage import Stage
from stages.classifying import MessageData, Messages
from stages.models import BASE

TOKENIZER = Path("data/tokenizer")
TEXT_BYTES = 2_000_000  # enough for a vocabulary


def stage_of(name: str, **changes: Any) -> Stage:
    """The stage with the parameters of params.yaml, some of its own changed, and nothing kept from an earlier run."""
    params = load_params(ROOT / "params.yaml")
    section = getattr(params, name).model_copy(update=changes)
    params = params.model_copy(update={name: section})
    stage = Stage(name, params, load_graph(ROOT)[name], {"benchmark": name}, Stopper())
    shutil.rmtree(stage.checkpoints, ignore_errors=True)
    return stage


@cache
def encoding() -> tiktoken.Encoding:
    """That of the trained base, or one of the default's size, learned from the embedded stories."""
    if trained(BASE):
        return load_encoding(TOKENIZER)
    texts = (json.loads(line)["text"] for line in story_lines(TEXT_BYTES, SEED))
    return train_encoding(texts, load_params(ROOT / "params.yaml").tokenize.trained_vocab_size)


def messages() -> MessageData:
    """As many messages as the default has, and its shares of them; every second one is spam."""
    params = load_params(ROOT / "params.yaml")
    pairs = iter(some_messages(params.download.world.messages, SEED))
    count, share = params.download.world.messages, params.sample.messages
    labels = share.labels
    sizes = {"train": round(count * share.train_fraction), "validation": round(count * share.validation_fraction)}
    read = encoding()
    parts = {}
    for part, size in sizes.items():
        texts = list(islice(pairs, size))
        rows = [read.encode_ordinary(text) for _, text in texts]
        classes = torch.tensor([labels.index(label) for label, _ in texts])
        parts[part] = Messages([text for _, text in texts], rows, classes)
    return MessageData(parts, labels, max(len(row) for row in parts["train"].rows), read.eot_token)


def instructions(count: int, part: str) -> list[dict[str, Any]]:
    """The first entries of a part of the default's instructions."""
    return list(islice(_entries(part), count))


def _entries(part: str) -> Iterator[dict[str, Any]]:
    world = load_params(ROOT / "params.yaml").download.world
    return (dict(entry) for entry in some_instructions(world.instructions, SEED) if entry["split"] == part)


def base(seed: int) -> GPT:
    """The pre-trained base; random weights of the default's shape where there is none."""
    return load_gpt2(BASE) if trained(BASE) else GPT(shape("nano").config, generator(seed, "weights"))


def trained(folder: Path) -> bool:
    """Whether a run of the whole pipeline left this model here."""
    return (folder / "model.safetensors").is_file()
