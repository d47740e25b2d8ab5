"""Tiny models in the folders that the stages write: classifier, adapter with its base, assistant, tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gpt.config import GPTConfig
from gpt.heads import Classifier
from gpt.hf_classifier import save_classifier
from gpt.hf_format import save_gpt2
from gpt.lora import add_lora, merge_lora
from gpt.model import GPT
from gpt.peft_format import save_adapter
from gpt.settings import write_settings
from gpt.tokenizer import train_encoding
from gpt.tokenizer_files import save_encoding

LABELS = ["ham", "spam", "other"]
MAX_LENGTH, MAX_NEW_TOKENS, CONTEXT_LENGTH = 12, 6, 64
TEXT = "The cat sees the dog by the river. Win a free prize now, call me! " * 3


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def shake(model: torch.nn.Module) -> None:
    """Move every number that would learn, so that no two texts score alike."""
    generator = seeded(5)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """tokenizer, base, classifier, adapter (of a classifier on the base), merged (the same, in one), assistant."""
    root = tmp_path_factory.mktemp("models")
    names = ("tokenizer", "base", "classifier", "adapter", "merged", "assistant")
    found = {name: root / name for name in names}
    encoding = train_encoding([TEXT], 300)
    save_encoding(encoding, found["tokenizer"])
    config = GPTConfig(encoding.n_vocab, CONTEXT_LENGTH, emb_dim=16, n_heads=2, n_layers=2, dropout=0.5)
    gpt = GPT(config, seeded(1))
    shake(gpt)
    save_gpt2(gpt, found["base"])
    save_gpt2(gpt, found["assistant"])

    classifier = Classifier.from_gpt(gpt, LABELS, seeded(2))
    shake(classifier)
    save_classifier(classifier, found["classifier"])

    adapted = Classifier.from_gpt(gpt, LABELS, seeded(3))
    add_lora(adapted, 2, 4.0, 0.1, seeded(4))
    shake(adapted)
    save_adapter(adapted, found["adapter"], "base")
    merge_lora(adapted)
    save_classifier(adapted, found["merged"])

    for name in ("classifier", "adapter", "merged"):
        write_settings(found[name], {"max_length": MAX_LENGTH})
    write_settings(found["assistant"], {"template": "phi3", "max_new_tokens": MAX_NEW_TOKENS})
    return found
