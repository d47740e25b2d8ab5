"""A model's score on every validation item of a workspace, as JSON Lines: what the gate compares two models by.

    python -m serving.rescore assistant OUT --workspace . --model models/assistant/pretrained --tokenizer data/tokenizer

A process of its own, because flows import no torch. A classifier gives {"correct"} a message, an assistant {"correct"}
an instruction (exact match of the greedy answer), a base model {"nats", "bytes"} a text: nats per byte can be compared
between models of different tokenizers. Models are read from safetensors and JSON; nothing is unpickled.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken
import torch
import torch.nn.functional as F

from corpus.prompts import extract_answer, format_prompt
from corpus.scores import exact_match
from gpt.generate import generate
from gpt.tokenizer_files import load_encoding
from gpt.tokens import open_tokens, read_index
from serving.assistant import Assistant
from serving.classifier import TextClassifier
from serving.complete import Writer

ANSWERED_AT_ONCE = 64
FEWEST_TEXTS = 30
PIECE_CHARACTERS = 200
Rows = list[dict[str, Any]]


def classifier_rows(workspace: Path, classifier: TextClassifier) -> Rows:
    items = _lines(workspace / "data/samples/messages/validation.jsonl")
    said = classifier.classify([item["text"] for item in items])
    return [{"correct": int(label == item["label"])} for label, item in zip(said, items, strict=True)]


def assistant_rows(workspace: Path, assistant: Assistant) -> Rows:
    """As the instruct stage answers: greedy, prompts that fill the context cut at the front, batches of like length."""
    items = _lines(workspace / "data/samples/instructions/validation.jsonl")
    room = assistant.model.config.context_length - 1
    encode = assistant.encoding.encode_ordinary
    prompts = [encode(format_prompt(item, assistant.template))[-room:] for item in items]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers: dict[int, str] = {}
    for start in range(0, len(order), ANSWERED_AT_ONCE):
        batch = order[start : start + ANSWERED_AT_ONCE]
        written = generate(
            assistant.model,
            [prompts[index] for index in batch],
            max_new_tokens=assistant.max_new_tokens,
            stop_token=assistant.encoding.eot_token,
        )
        for index, tokens in zip(batch, written, strict=True):
            answers[index] = extract_answer(assistant.encoding.decode(tokens), assistant.template)
    return [{"correct": int(exact_match(answers[index], item["output"]))} for index, item in enumerate(items)]


def base_rows(workspace: Path, writer: Writer) -> Rows:
    """The surprisal of every validation text, read from its beginning in pieces that the context holds."""
    texts = list(validation_texts(workspace))
    return [
        {"nats": text_nats(writer, writer.encoding.encode_ordinary(text)), "bytes": len(text.encode())}
        for text in texts
    ]


def text_nats(writer: Writer, tokens: list[int]) -> float:
    """-ln p of all tokens behind an end-of-text token; a piece's first token is predicted from the one before it."""
    context = writer.model.config.context_length
    row = [writer.encoding.eot_token, *tokens]
    pieces = [row[start : start + context + 1] for start in range(0, len(tokens), context)]
    return sum(_piece_nats(writer, piece) for piece in pieces)


@torch.inference_mode()
def _piece_nats(writer: Writer, piece: list[int]) -> float:
    row = torch.tensor([piece])
    logits = writer.model(row[:, :-1])
    return float(F.cross_entropy(logits[0].float(), row[0, 1:], reduction="sum"))


def validation_texts(workspace: Path) -> Iterator[str]:
    """The documents of the validation part. Fewer than thirty are cut into pieces: means need items."""
    tokens, index = (
        open_tokens(workspace / "data/tokens", "validation"),
        read_index(workspace / "data/tokens", "validation"),
    )
    encoding: tiktoken.Encoding = load_encoding(workspace / "data/tokenizer")
    for start, length in np.asarray(index).tolist():
        text = encoding.decode(tokens[start : start + length].tolist())
        step = PIECE_CHARACTERS if len(index) < FEWEST_TEXTS else max(1, len(text))
        yield from (text[at : at + step] for at in range(0, len(text), step))


def rows_of(kind: str, workspace: Path, model: Path, tokenizer: Path, base: Path | None) -> Rows:
    """The scores of a model's folder; `base` beside an adapter's. ValueError when a folder holds something else."""
    if kind == "base":
        return base_rows(workspace, Writer.load(model, tokenizer))
    if kind == "classifier":
        return classifier_rows(workspace, TextClassifier.load(model, tokenizer, base))
    return assistant_rows(workspace, Assistant.load(model, tokenizer))


def _lines(path: Path) -> Rows:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def main(argv: list[str] | None = None) -> int:
    about = argparse.ArgumentParser(prog="python -m serving.rescore", description=(__doc__ or "").split("\n")[0])
    about.add_argument("kind", choices=["base", "classifier", "assistant"])
    about.add_argument("out", type=Path, help="where the lines go")
    about.add_argument("--workspace", type=Path, default=Path(), help="whose validation items")
    about.add_argument("--model", type=Path, required=True)
    about.add_argument("--tokenizer", type=Path, required=True)
    about.add_argument("--base", type=Path, help="the base model's folder, where the model is an adapter")
    options = about.parse_args(argv)
    try:
        rows = rows_of(options.kind, options.workspace, options.model, options.tokenizer, options.base)
        if not rows:
            raise ValueError(f"{options.workspace} has no validation items")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = "".join(json.dumps({"index": index, **row}, sort_keys=True) + "\n" for index, row in enumerate(rows))
    options.out.write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
