"""Tiny models in the folders that the stages write: classifier, adapter with its base, assistant, tokenizer."""

from __future__ import annotations

import json
import shutil
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
from gpt.tokens import TokenWriter

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


TASKS = [
    {"instruction": "What is the plural of cat?", "input": "", "output": "cats", "kind": "plural"},
    {"instruction": "What is the plural of dog?", "input": "", "output": "dogs", "kind": "plural"},
    {"instruction": "Who sees the dog?", "input": "The cat sees the dog.", "output": "The cat.", "kind": "who"},
]
MESSAGES = [
    {"label": "spam", "text": "Win a free prize now!"},
    {"label": "spam", "text": "Call me now!"},
    {"label": "ham", "text": "The cat sees the dog."},
]


@pytest.fixture(scope="session")
def workspace(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository's root as a run leaves it: models/, the tokenizer, and some of data/."""
    root = tmp_path_factory.mktemp("workspace")
    places = {
        "tokenizer": "data/tokenizer",
        "base": "models/base",
        "classifier": "models/classifier/pretrained",
        "adapter": "models/lora",
        "assistant": "models/assistant/pretrained",
    }
    for name, place in places.items():
        shutil.copytree(folders[name], root / place)
    write_settings(root / "models/base", {"begins_with_end_of_text": True})
    for name, rows in (("instructions", TASKS), ("messages", MESSAGES)):
        (root / "data/samples" / name).mkdir(parents=True)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (root / "data/samples" / name / "test.jsonl").write_text(text, encoding="utf-8")
    encoding = train_encoding([TEXT], 300)
    with TokenWriter(root / "data/tokens", ("validation",), encoding.n_vocab, encoding.eot_token) as writer:
        for document in (TEXT, "Too short."):
            writer.add("validation", "text.txt", encoding.encode_to_numpy(document))
    return root
