"""Every kind of input file: how a whole one is made, how it is read, and what a right result is."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import tiktoken
import torch
from ruamel.yaml import YAML

from corpus.documents import clean, read_documents
from corpus.instructions import kind_of, read_instructions
from corpus.messages import read_messages
from corpus.prompts import format_answer, format_prompt
from corpus.utf8 import is_encodable
from gpt.config import GPTConfig
from gpt.heads import Classifier
from gpt.hf_classifier import load_classifier, save_classifier
from gpt.hf_format import load_gpt2, save_gpt2
from gpt.lora import add_lora
from gpt.model import GPT
from gpt.peft_format import load_adapter, save_adapter
from gpt.tokenizer import END_OF_TEXT, byte_symbols, gpt2_encoding, train_encoding
from gpt.tokenizer_files import load_encoding, ranks_of, save_encoding
from pipeline.followed import read_lock
from pipeline.params import dump_yaml, load_params, read_yaml
from tests.tiny import sentences

ROOT = Path(__file__).resolve().parents[2]
TEXT = "The cat sees the dog, and it is day 7. Ünïcode 🙂\n"


@dataclass(frozen=True)
class Kind:
    """`files` are damaged, one at a time, below the folder that `make` fills; `formats`: structures they have.

    `read` takes the whole folder, asserts that what came out is right, or lets the ValueError pass that names a file.
    """

    name: str
    files: tuple[str, ...]
    formats: tuple[str, ...]
    make: Callable[[Path], None]
    read: Callable[[Path], None]
    first_check: Callable[[str, bytes], bool]


def is_utf8(name: str, data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_json(kind: type) -> Callable[[str, bytes], bool]:
    def check(name: str, data: bytes) -> bool:
        try:
            return isinstance(json.loads(data), kind)
        except (ValueError, RecursionError):
            return False

    return check


def all_lines_are_json(name: str, data: bytes) -> bool:
    return all(is_json(dict)(name, line) for line in data.split(b"\n") if line.strip())


def is_yaml(name: str, data: bytes) -> bool:
    try:
        return data.count(b"*a") < 30 and isinstance(YAML(typ="safe", pure=True).load(BytesIO(data)), dict)
    except Exception:  # the library's many ways of saying no
        return False


def has_header(name: str, data: bytes) -> bool:
    """A safetensors file whose header is a JSON object of the length that is announced."""
    size = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    return 0 < size <= len(data) - 8 and is_json(dict)(name, data[8 : 8 + size])


def by_name(name: str, data: bytes) -> bool:
    """The first check of a folder of several formats."""
    if name.endswith(".json"):
        return is_json(dict)(name, data)
    return has_header(name, data) if name.endswith(".safetensors") else is_utf8(name, data)


@cache
def encoding() -> tiktoken.Encoding:
    return train_encoding(sentences(80), 300)


def comes_back(text: str, using: tiktoken.Encoding | None = None) -> None:
    """Text to ids and back."""
    using = using or encoding()
    ids = using.encode_ordinary(text)
    assert all(0 <= id < using.n_vocab for id in ids) and using.decode(ids) == text


# Text, messages, instructions


def make_text(folder: Path) -> None:
    (folder / "tales.txt").write_text("\n".join(sentences(12)) + "\n---\n" + TEXT)


def make_lines(folder: Path) -> None:
    rows = [{"text": text, "nats": 1.5 * number} for number, text in enumerate(sentences(8))]
    (folder / "tales.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_text(folder: Path) -> None:
    for document in read_documents(folder, "---"):
        assert document.text.strip() and is_encodable(document.text) and document.source in ("tales.txt", "tales.jsonl")
        assert document.nats is None or 0 <= document.nats < float("inf")
        for form in ("NFC", "NFKC"):
            comes_back(clean(document.text, normalization=form, newlines="lf", strip_control=True))


def make_messages(folder: Path) -> None:
    rows = [f"{'ham' if i % 2 else 'spam'}\t{text}" for i, text in enumerate(sentences(12))]
    (folder / "table.tsv").write_text("\n".join([*rows, 'ham\tsaid "yes" twice', "ham\t" + TEXT.strip()]) + "\n")


def read_table(folder: Path) -> None:
    file = folder / "table.tsv"
    for compatible in (False, True):
        table = read_messages(file, ["ham", "spam"], book_compatible=compatible)
        assert len(table) and list(table.columns) == ["label", "text"]
        assert set(table["label"]) <= {"ham", "spam"}
        for text in table["text"]:
            assert isinstance(text, str) and text.strip()
            comes_back(text)


def make_instructions(folder: Path) -> None:
    entries: list[dict[str, Any]] = [{"instruction": "Repeat.", "input": text, "output": text} for text in sentences(5)]
    entries += [{"instruction": "Sort: b, a", "input": "", "output": "a, b", "kind": "sorting", "split": "test"}]
    entries += [{"instruction": "Why?", "output": TEXT, "split": "test", "combination": True}]
    (folder / "tasks.json").write_text(json.dumps(entries))


def make_instruction_lines(folder: Path) -> None:
    make_instructions(folder)
    entries = json.loads((folder / "tasks.json").read_text())
    (folder / "tasks.json").unlink()
    (folder / "tasks.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def read_tasks(folder: Path) -> None:
    (file,) = folder.iterdir()
    entries = read_instructions(file)
    assert entries
    for entry in entries:
        assert entry["instruction"].strip() and entry["output"].strip() and isinstance(kind_of(entry), str)
        for template in ("alpaca", "phi3"):
            comes_back(format_prompt(entry, template) + format_answer(entry, template))


# Vocabularies


def make_vocabulary(folder: Path) -> None:
    """GPT-2's two files, of a vocabulary of our own."""
    symbols = byte_symbols()
    saved = folder / "saved"
    save_encoding(encoding(), saved)
    order = list(ranks_of(encoding()))
    merges = (saved / "merges.txt").read_text(encoding="utf-8").split("\n")[1:]
    assert order[:256] == [bytes([byte]) for byte in symbols], "GPT-2 numbers the bytes in this order"
    (folder / "vocab.bpe").write_text("\n".join(["#version: 0.2", *merges]), encoding="utf-8")
    shutil.copyfile(saved / "vocab.json", folder / "encoder.json")
    shutil.rmtree(saved)


def read_vocabulary(folder: Path) -> None:
    found = gpt2_encoding(folder / "vocab.bpe", folder / "encoder.json")
    comes_back(TEXT, found)
    assert found.decode([found.eot_token]) == END_OF_TEXT
    save_encoding(found, folder / "again")
    shutil.rmtree(folder / "again")


def make_encoding_folder(folder: Path) -> None:
    save_encoding(encoding(), folder)
    for file in folder.iterdir():
        if file.name not in ("ranks.tiktoken", "encoding.json"):
            file.unlink()


def read_encoding_folder(folder: Path) -> None:
    found = load_encoding(folder)
    comes_back(TEXT, found)
    comes_back(bytes(range(128)).decode(), found)
    assert found.eot_token == found.n_vocab - 1


# Parameters


def make_params(folder: Path) -> None:
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")


def read_params(folder: Path) -> None:
    params = load_params(folder / "params.yaml")
    again = folder / "again.yaml"
    again.write_text(dump_yaml(read_yaml(folder / "params.yaml")), encoding="utf-8")
    try:
        assert load_params(again) == params
    finally:
        again.unlink()


def make_lock(folder: Path) -> None:
    entry = {"url": "https://example.org/a.txt", "member": None, "sha256": "0" * 64}
    (folder / "sources.lock.json").write_text(json.dumps({"text/a.txt": entry, "text/b.txt": entry}, indent=2))


def read_lock_file(folder: Path) -> None:
    for key, entry in read_lock(folder).items():
        assert isinstance(key, str) and len(str(entry["sha256"])) == 64


# Models


def config() -> GPTConfig:
    return GPTConfig(
        vocab_size=97, context_length=24, emb_dim=64, n_heads=1, n_layers=2, qkv_bias=True, tie_embeddings=True
    )


@cache
def base() -> GPT:
    return GPT(config(), generator=torch.Generator().manual_seed(1)).requires_grad_(False)


def answers(model: GPT | Classifier) -> None:
    """It does what it is for, in numbers."""
    tokens = torch.arange(5)[None] % model.config.vocab_size
    tokens = tokens[:, : model.config.context_length]
    with torch.inference_mode():
        lengths = torch.tensor([tokens.size(1)])
        scores = model.eval()(tokens, lengths) if isinstance(model, Classifier) else model.eval()(tokens)
    assert scores.shape[-1] == (len(model.labels) if isinstance(model, Classifier) else model.config.vocab_size)
    assert scores.isfinite().all() or any(p.abs().max() > 1e15 for p in model.parameters()), "not numbers"


def make_model(folder: Path) -> None:
    save_gpt2(base(), folder)


def read_model(folder: Path) -> None:
    answers(load_gpt2(folder))


def make_bare(folder: Path) -> None:
    save_gpt2(base(), folder / "saved")
    shutil.move(folder / "saved" / "model.safetensors", folder / "gpt2.safetensors")
    shutil.rmtree(folder / "saved")


def read_bare(folder: Path) -> None:
    answers(load_gpt2(folder / "gpt2.safetensors", dropout=0.1))


def make_classifier(folder: Path) -> None:
    save_classifier(Classifier.from_gpt(base(), ["ham", "spam"]), folder)


def read_classifier(folder: Path) -> None:
    answers(load_classifier(folder))


def make_adapter(folder: Path) -> None:
    model = Classifier.from_gpt(base(), ["ham", "spam"])
    add_lora(model, 2, 4.0, 0.0, torch.Generator().manual_seed(2))
    save_adapter(model, folder, "base")


def read_adapter(folder: Path) -> None:
    model = GPT(config())
    model.load_state_dict(base().state_dict())
    answers(load_adapter(model, folder))


ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "labels.json")
JSON_LINES = ("lines", "jsonl")
ENCODING = ("ranks.tiktoken", "encoding.json")
MODEL = ("config.json", "model.safetensors")
KINDS = {
    kind.name: kind
    for kind in (
        Kind("text", ("tales.txt",), ("lines",), make_text, read_text, is_utf8),
        Kind("text-lines", ("tales.jsonl",), ("lines", "jsonl"), make_lines, read_text, all_lines_are_json),
        Kind("messages", ("table.tsv",), ("lines",), make_messages, read_table, is_utf8),
        Kind("instructions", ("tasks.json",), ("json",), make_instructions, read_tasks, is_json(list)),
        Kind("instruction-lines", ("tasks.jsonl",), JSON_LINES, make_instruction_lines, read_tasks, all_lines_are_json),
        Kind("vocabulary", ("vocab.bpe", "encoder.json"), ("lines", "json"), make_vocabulary, read_vocabulary, by_name),
        Kind("encoding", ENCODING, ("lines", "json"), make_encoding_folder, read_encoding_folder, by_name),
        Kind("parameters", ("params.yaml",), ("lines", "yaml"), make_params, read_params, is_yaml),
        Kind("sources-lock", ("sources.lock.json",), ("json",), make_lock, read_lock_file, is_json(dict)),
        Kind("model", MODEL, ("json", "safetensors"), make_model, read_model, by_name),
        Kind("bare-weights", ("gpt2.safetensors",), ("safetensors",), make_bare, read_bare, has_header),
        Kind("classifier", MODEL, ("json", "safetensors"), make_classifier, read_classifier, by_name),
        Kind("adapter", ADAPTER, ("json", "safetensors"), make_adapter, read_adapter, by_name),
    )
}  # fmt: skip
