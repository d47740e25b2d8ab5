"""Models scored again, item by item: the same as one by one, for every kind of model, and as a process."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from corpus.scores import exact_match
from serving.assistant import Assistant
from serving.classifier import TextClassifier
from serving.complete import Writer
from serving.rescore import main, text_nats, validation_texts
from tests.serving.conftest import MESSAGES, TASKS, TEXT
from tests.tiny import ROOT


@pytest.fixture(scope="module")
def items(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace, with validation parts."""
    root = tmp_path_factory.mktemp("items") / "workspace"
    shutil.copytree(workspace, root)
    for name in ("instructions", "messages"):
        shutil.copyfile(root / "data/samples" / name / "test.jsonl", root / "data/samples" / name / "validation.jsonl")
    return root


def scored(items: Path, out: Path, kind: str, folder: str, *more: str) -> list[dict[str, float]]:
    options = ["--workspace", str(items), "--model", str(items / folder), "--tokenizer", str(items / "data/tokenizer")]
    assert main([kind, str(out), *options, *more]) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.parametrize("folder", ["models/classifier/pretrained", "models/lora"])
def test_classifiers(items: Path, tmp_path: Path, folder: str) -> None:
    base = items / "models/base" if folder.endswith("lora") else None
    rows = scored(items, tmp_path / "out", "classifier", folder, *(["--base", str(base)] if base else []))
    said = TextClassifier.load(items / folder, items / "data/tokenizer", base).classify([m["text"] for m in MESSAGES])
    assert rows == [
        {"index": index, "correct": int(one == message["label"])}
        for index, (one, message) in enumerate(zip(said, MESSAGES, strict=True))
    ]


def test_assistants(items: Path, tmp_path: Path) -> None:
    rows = scored(items, tmp_path / "out", "assistant", "models/assistant/pretrained")
    assistant = Assistant.load(items / "models/assistant/pretrained", items / "data/tokenizer")
    said = assistant.answers([(task["instruction"], task["input"]) for task in TASKS])
    expected = [int(exact_match(answer, task["output"])) for answer, task in zip(said, TASKS, strict=True)]
    assert [row["correct"] for row in rows] == expected


def test_base_models_are_scored_on_every_byte(items: Path, tmp_path: Path) -> None:
    rows = scored(items, tmp_path / "out", "base", "models/base")
    assert sum(row["bytes"] for row in rows) == len((TEXT + "Too short.").encode())
    assert all(math.isfinite(row["nats"]) and row["nats"] > 0 for row in rows)
    assert list(validation_texts(items))[-1] == "Too short."


def test_a_text_longer_than_the_context_is_read_in_pieces(items: Path) -> None:
    writer = Writer.load(items / "models/base", items / "data/tokenizer")
    context = writer.model.config.context_length
    tokens = [index % writer.encoding.n_vocab for index in range(2 * context + 5)]
    row = [writer.encoding.eot_token, *tokens]
    nats = 0.0
    with torch.inference_mode():
        for start in range(0, len(tokens), context):
            piece = torch.tensor([row[start : start + context + 1]])
            chosen = writer.model(piece[:, :-1]).log_softmax(dim=-1)[0].gather(1, piece[0, 1:, None])
            nats -= float(chosen.sum())
    assert text_nats(writer, tokens) == pytest.approx(nats, rel=1e-5)


def test_a_folder_of_another_kind_is_told_in_one_sentence(items: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving.rescore", "assistant", str(tmp_path / "out"), "--workspace", str(items)]
    command += ["--model", str(items / "data/tokenizer"), "--tokenizer", str(items / "data/tokenizer")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
