"""Numbers on the docs' pages that code can count."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gpt.config import GPTConfig
from gpt.heads import Classifier, select_trainable
from gpt.lora import add_lora
from gpt.model import GPT
from gpt.windows import window_starts
from pipeline.params import read_yaml

ROOT = Path(__file__).resolve().parent.parent
VOCABULARIES = {"nano": 2_000, "small": 50_257, "gpt2-124m": 50_257}


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def shape(preset: str) -> GPTConfig:
    model = read_yaml(ROOT / "conf" / "model" / f"{preset}.yaml")["model"]
    return GPTConfig(vocab_size=VOCABULARIES[preset], **model)


def classifier(preset: str) -> Classifier:
    with torch.device("meta"):
        return Classifier(shape(preset), ["ham", "spam"])


@pytest.mark.parametrize("preset", VOCABULARIES)
def test_the_models_sizes(preset):
    config = shape(preset)
    sizes = f"{config.emb_dim}, {config.n_heads}, {config.n_layers}, {config.context_length}"
    with torch.device("meta"):
        count = GPT(config).n_parameters
    assert f"| `{preset}` | {sizes} | {config.vocab_size:,} | {count:,} |" in page("pretrain")


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_what_a_rank_costs(rank):
    model = Classifier(shape("nano"), ["ham", "spam"])
    whole = model.n_parameters
    trained = add_lora(model, rank, 16.0, 0.0, torch.Generator().manual_seed(0))
    assert f"`nano` classifier of {whole:,} parameters" in page("lora")
    assert f"| {rank} | {trained:,} | {100 * trained / whole:.1f} % |" in page("lora")
    assert f"{classifier('gpt2-124m').n_parameters:,}" in page("lora")


def test_what_the_classifier_tunes():
    head, block, whole = (select_trainable(classifier("nano"), part) for part in ("head", "last_block", "all"))
    said = f"`nano` model of {whole:,} parameters the head alone is {head:,} of them, the last block with norm and head"
    assert f"{said} {block:,}." in " ".join(page("classify").split())


def test_windows_of_the_book_s_story():
    counts = [len(window_starts(5_145, length, stride)) for length, stride in ((4, 1), (256, 128))]
    assert "a window of 4 with stride 1 makes {:,}, one of 256 with stride 128 makes {}".format(*counts) in " ".join(
        page("sample").split()
    )
