"""The first mutations of every kind of input file; `make torture` tries ten thousand (tests/torture/mutating.py).

What earlier campaigns found stands here by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from corpus.documents import read_documents
from corpus.messages import read_messages
from gpt.hf_classifier import load_classifier
from gpt.hf_format import load_gpt2
from gpt.peft_format import load_adapter
from gpt.tensor_file import read_json, write_tensors
from gpt.tokenizer import gpt2_encoding
from gpt.tokenizer_files import load_encoding
from pipeline.followed import read_lock
from pipeline.params import load_params
from tests.torture.kinds import KINDS, base
from tests.torture.mutating import Campaign

DEEP = "[" * 100_000


@pytest.mark.parametrize("kind", KINDS)
def test_mutants_are_refused_by_name_or_read_rightly(kind: str, tmp_path: Path) -> None:
    campaign = Campaign(KINDS[kind], 1, tmp_path)
    for _ in range(12 if kind == "parameters" else 40):
        campaign.step()
    assert campaign.counts["tried"] == campaign.counts["refused"] + campaign.counts["right"]
    assert campaign.counts["past"] > 0


def edited(kind: str, folder: Path, file: str, **changes: object) -> Path:
    """A whole folder of a kind with keys of one JSON file changed."""
    KINDS[kind].make(folder)
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


def test_brackets_without_end_are_no_json_of_ours(tmp_path: Path) -> None:
    readers: dict[str, Callable[[Path], object]] = {
        "config.json": read_json,
        "sources.lock.json": lambda path: read_lock(path.parent),
        "tale.jsonl": lambda path: list(read_documents(path.parent, None)),
    }
    for name, read in readers.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text(DEEP)
        with pytest.raises(ValueError, match=name):
            read(folder / name)


def test_aliases_of_aliases_are_counted_before_they_unfold(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    rows = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    for text in ("\n".join(rows), "a: &a\n  b: [*a, *a]\n", "a: " + DEEP, "- " * 5000):
        file.write_text(text)
        with pytest.raises(ValueError, match=r"params\.yaml"):
            load_params(file)


def test_a_surprisal_beyond_all_floats_is_no_number(tmp_path: Path) -> None:
    for nats in ("1" + "0" * 400, "true", "1e999"):
        (tmp_path / "a.jsonl").write_text(f'{{"text": "a", "nats": {nats}}}\n')
        with pytest.raises(ValueError, match=r'a\.jsonl:1: "nats" is'):
            list(read_documents(tmp_path, None))


def test_a_label_of_any_length_is_a_short_error(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("x" * 1_000_000 + "\ttext\n")
    with pytest.raises(ValueError, match="is not one of ham, spam") as caught:
        read_messages(tmp_path / "a.tsv", ["ham", "spam"])
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("text", "words"),
    [("ham\ta\nspam\tb\tc\td\n", "can't be read"), ('"ham\tx\n', "can't be read"), ('ham\t""\nspam\tb\n', "row 1")],
)
def test_the_books_way_of_reading_fails_with_the_files_name(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(ValueError, match=rf"a\.tsv.*{words}"):
        read_messages(tmp_path / "a.tsv", ['"ham', "ham", "spam"], book_compatible=True)


def test_vocabularies_that_lack_bytes_or_repeat_merges_are_refused(tmp_path: Path) -> None:
    KINDS["encoding"].make(tmp_path)
    ranks = tmp_path / "ranks.tiktoken"
    lines = ranks.read_text().splitlines()
    for damaged in ([*lines[:65], "QUJD 65", *lines[66:]], [*lines, f"= {len(lines)}"], [*lines, f" {len(lines)}"]):
        ranks.write_text("\n".join(damaged) + "\n")
        with pytest.raises(ValueError, match=r"ranks\.tiktoken"):
            load_encoding(tmp_path)
    KINDS["vocabulary"].make(tmp_path)
    bpe, ids = tmp_path / "vocab.bpe", tmp_path / "encoder.json"
    whole = bpe.read_text()
    second = whole.split("\n")[1]
    for damaged, words in ((f"{whole}{second}\n", "twice"), (f"{whole}\x85 a\n", "none of the 256 bytes")):
        bpe.write_text(damaged)
        with pytest.raises(ValueError, match=words):
            gpt2_encoding(bpe, ids)


@pytest.mark.parametrize(
    ("key", "value"),
    [("qkv_bias", "false"), ("tie_word_embeddings", 0), ("n_inner", 256.5), ("n_embd", "64"), ("n_embd", [64])],
)
def test_a_configuration_of_other_types_is_refused(key: str, value: object, tmp_path: Path) -> None:
    edited("model", tmp_path, "config.json", **{"n_inner": 256, key: value})
    with pytest.raises(ValueError, match=r"config\.json"):
        load_gpt2(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rank_pattern", [1, 2]),
        ("rank_pattern", {"(([a-z._0-9])+)+x": 3}),  # would be matched for ever
        ("alpha_pattern", {"[": 1.0}),
        ("r", True),
        ("lora_alpha", 10**400),
        ("lora_alpha", float("nan")),
        ("lora_dropout", "none"),
        ("lora_dropout", 1.5),
    ],
)
def test_an_adapters_configuration_is_checked_before_it_is_used(key: str, value: object, tmp_path: Path) -> None:
    edited("adapter", tmp_path, "adapter_config.json", **{key: value})
    with pytest.raises(ValueError, match=rf"adapter_config\.json: .*{key}"):
        load_adapter(base(), tmp_path)


@pytest.mark.parametrize("labels", [{}, {"0": "ham"}, {"0": "ham", "1": "ham"}, {"0": "ham", "1": "\ud800"}])
def test_labels_are_two_at_least_each_once_and_can_be_written(labels: dict[str, str], tmp_path: Path) -> None:
    edited("classifier", tmp_path, "config.json", id2label=labels)
    with pytest.raises(ValueError, match=r"config\.json: id2label"):
        load_classifier(tmp_path)


def test_weights_that_are_no_numbers_or_none_at_all_are_refused(tmp_path: Path) -> None:
    KINDS["bare-weights"].make(tmp_path)
    file = tmp_path / "gpt2.safetensors"
    load_gpt2(file)
    weights = load_file(file) | {"transformer.ln_f.bias": torch.full((64,), float("nan"))}
    write_tensors(file, weights)
    with pytest.raises(ValueError, match=r"gpt2\.safetensors: tensor transformer\.ln_f\.bias holds NaN"):
        load_gpt2(file)
    write_tensors(file, {"transformer.wte.weight": torch.empty(0, 64), "transformer.wpe.weight": torch.empty(8, 64)})
    with pytest.raises(ValueError, match=r"gpt2\.safetensors: model\.vocab_size is 0"):
        load_gpt2(file)
