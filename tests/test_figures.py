"""The ledger of figures: what the book and the public notes say, computed again by this project's own code.

Each line is a fact to reproduce exactly. Those that need the real files read them from the mirror; without one they
are skipped.
"""

# ruff: noqa: E501 (one line a figure)

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corpus.documents import split_by_character
from corpus.instructions import leaks, read_instructions, split_instructions
from corpus.messages import overlap, read_messages, split_messages
from corpus.prompts import format_answer, format_prompt
from gpt.block import Block
from gpt.collate import instruction_batch
from gpt.config import GPTConfig
from gpt.generate import sample_next
from gpt.heads import Classifier, select_trainable
from gpt.lora import add_lora
from gpt.loss import language_model_loss
from gpt.model import GPT
from gpt.tokenizer import gpt2_encoding
from gpt.windows import window_starts

SIZES = {"124M": (768, 12, 12), "355M": (1024, 16, 24), "774M": (1280, 20, 36), "1558M": (1600, 25, 48)}


class Files:
    """The real input files, each read once, as this project's code reads them."""

    def __init__(self, mirror: Path) -> None:
        self.encoding = gpt2_encoding(mirror / "vocab.bpe", mirror / "encoder.json")
        self.text = (mirror / "the-verdict.txt").read_bytes().decode("utf-8")
        self.tokens = self.encoding.encode_ordinary(self.text)
        self.parts = split_by_character(self.text, (0.9, 0.1))
        self.part_tokens = {part: self.encoding.encode_ordinary(text) for part, text in self.parts.items()}
        self.mirror = mirror

    @cache  # noqa: B019 (one object for the whole session)
    def messages(self, book_compatible: bool) -> Any:
        return read_messages(self.mirror / "SMSSpamCollection", ["ham", "spam"], book_compatible=book_compatible)

    @cache  # noqa: B019
    def message_parts(self, book_compatible: bool) -> Any:
        return split_messages(
            self.messages(book_compatible),
            train_fraction=0.7,
            validation_fraction=0.1,
            seed=123,
            balance=True,
            book_compatible=book_compatible,
        )

    @cache  # noqa: B019
    def instruction_parts(self) -> Any:
        return split_instructions(
            read_instructions(self.mirror / "instruction-data.json"),
            train_fraction=0.85,
            validation_fraction=0.05,
            split="file",
            seed=123,
            drop_leaks=False,
        )

    def windows(self, length: int, stride: int) -> int:
        return len(window_starts(len(self.tokens), length, stride))

    def part_windows(self) -> list[int]:
        return [len(window_starts(len(self.part_tokens[part]), 256, 256)) for part in ("train", "validation")]

    def copies(self, part: str) -> int:
        parts = self.message_parts(True)
        return overlap(list(parts["train"]["text"]), list(parts[part]["text"]))

    def first_batch_widths(self) -> list[int]:
        """The reference loader's first ten batches: a permutation by the global generator after seed 123."""
        entries = self.instruction_parts()["train"]
        rows = [
            (
                self.encoding.encode_ordinary(format_prompt(entry, "alpaca")),
                self.encoding.encode_ordinary(format_answer(entry, "alpaca")),
            )
            for entry in entries
        ]
        torch.manual_seed(123)
        loader = torch.utils.data.DataLoader(
            range(len(rows)), batch_size=8, shuffle=True, drop_last=True, collate_fn=list
        )
        chosen = [batch for batch, _ in zip(loader, range(10), strict=False)]
        return [instruction_batch([rows[i] for i in batch], 50256, max_length=1024)[0].shape[1] for batch in chosen]


@pytest.fixture(scope="session")
def files(mirror: Path) -> Files:
    return Files(mirror)


def sizes(parts: Any) -> list[int]:
    return [len(parts[part]) for part in ("train", "validation", "test")]


HELLO = "Hello, do you like tea? <|endoftext|> In the sunlit terracesof someunknownPlace."

FROM_FILES: dict[str, tuple[Any, Callable[[Files], Any]]] = {
    "1 the-verdict: characters": (20_479, lambda f: len(f.text)),
    "1 the-verdict: tokens": (5_145, lambda f: len(f.tokens)),
    "1 the-verdict: first ids": ([40, 367, 2885, 1464, 1807, 3619, 402, 271, 10899, 2138], lambda f: f.tokens[:10]),
    "1 the-verdict with CRLF: tokens": (5_309, lambda f: len(f.encoding.encode_ordinary(f.text.replace("\n", "\r\n")))),
    "1 Akwirw ier": ([33901, 86, 343, 86, 220, 959], lambda f: f.encoding.encode_ordinary("Akwirw ier")),
    "1 a special token inside: ids": (20, lambda f: len(f.encoding.encode(HELLO, allowed_special="all"))),
    "1 a special token inside: 50256": (1, lambda f: f.encoding.encode(HELLO, allowed_special="all").count(50256)),
    "2 windows 4/1": (5_141, lambda f: f.windows(4, 1)),
    "2 windows 4/4": (1_286, lambda f: f.windows(4, 4)),
    "2 windows 256/128": (39, lambda f: f.windows(256, 128)),
    "2 windows 256/256": (20, lambda f: f.windows(256, 256)),
    "2 split: characters": ([18_431, 2_048], lambda f: [len(f.parts[part]) for part in ("train", "validation")]),
    "2 split: tokens": ([4_612, 534], lambda f: [len(f.part_tokens[part]) for part in ("train", "validation")]),
    "2 split: windows of 256": ([18, 2], lambda f: f.part_windows()),
    "2 split: batches of 2": ([9, 1], lambda f: [n // 2 for n in f.part_windows()]),
    "2 split: tokens used": ([4_608, 512], lambda f: [256 * n for n in f.part_windows()]),
    "7.1 messages": (5_574, lambda f: len(f.messages(False))),
    "7.1 ham and spam": ([4_827, 747], lambda f: [int((f.messages(False)["label"] == label).sum()) for label in ("ham", "spam")]),
    "7.1 merged lines: messages": (5_572, lambda f: len(f.messages(True))),
    "7.1 merged lines: ham": (4_825, lambda f: int((f.messages(True)["label"] == "ham").sum())),
    "7.1 book's parts": ([1_045, 149, 300], lambda f: sizes(f.message_parts(True))),
    "7.1 book's test rows that are training rows": (37, lambda f: f.copies("test")),
    "7.1 book's validation rows that are training rows": (13, lambda f: f.copies("validation")),
    "7.1 honest parts": ([914, 130, 262], lambda f: sizes(f.message_parts(False))),
    "7.1 honest parts of each class": (653, lambda f: sum(int((p["label"] == "spam").sum()) for p in f.message_parts(False).values())),
    "7.2 instructions": (1_100, lambda f: sum(sizes(f.instruction_parts()))),
    "7.2 parts": ([935, 55, 110], lambda f: sizes(f.instruction_parts())),
    "7.2 test pairs that are training pairs": (2, lambda f: leaks(f.instruction_parts()["train"], f.instruction_parts()["test"])),
    "7.2 validation pairs that are training pairs": (4, lambda f: leaks(f.instruction_parts()["train"], f.instruction_parts()["validation"])),
    "7.2 first batch widths": ([61, 76, 73, 68, 65, 72, 80, 67, 62, 75], lambda f: f.first_batch_widths()),
}  # fmt: skip


@pytest.mark.parametrize("name", FROM_FILES)
def test_figure_from_the_real_files(name: str, files: Files) -> None:
    expected, compute = FROM_FILES[name]
    assert compute(files) == expected


def shape(size: str = "124M", **changes: Any) -> GPTConfig:
    emb_dim, n_heads, n_layers = SIZES[size]
    return GPTConfig(**{"emb_dim": emb_dim, "n_heads": n_heads, "n_layers": n_layers, "dropout": 0.1} | changes)


def count(size: str = "124M", **changes: Any) -> int:
    with torch.device("meta"):
        return GPT(shape(size, **changes)).n_parameters


def block_counts() -> list[int]:
    with torch.device("meta"):
        block = Block(shape(), 0)
    parts = (block.attention, block.feed_forward, torch.nn.ModuleList([block.norm1, block.norm2]))
    return [sum(p.numel() for p in part.parameters()) for part in parts]


def last_block(qkv_bias: bool) -> int:
    with torch.device("meta"):
        return select_trainable(Classifier(shape(qkv_bias=qkv_bias), ("ham", "spam")), "last_block")


def lora_on(model: torch.nn.Module) -> int:
    return add_lora(model, 16, 16.0, 0.0, torch.Generator())


def lora_counts() -> list[int]:
    with torch.device("meta"):
        return [lora_on(Classifier(shape(), ("ham", "spam"))), lora_on(GPT(shape("355M")))]


def toy_draws(temperature: float) -> list[int]:
    """1,000 draws among the nine words of the published toy vocabulary, seed 123."""
    logits = torch.tensor([4.51, 0.89, -1.90, 6.75, 1.63, -1.62, -1.89, 6.28, 1.79])
    draw = torch.Generator().manual_seed(123)
    chosen = [int(sample_next(logits[None], temperature, generator=draw)) for _ in range(1_000)]
    return np.bincount(chosen, minlength=9).tolist()


def masking_losses() -> list[float]:
    """The book's demonstration: two rows, then three of which the last one's target is masked."""
    two = torch.tensor([[-1.0, 1.0], [-0.5, 1.5]])
    three = torch.tensor([[-1.0, 1.0], [-0.5, 1.5], [-0.5, 1.5]])
    cases = [(two, [0, 1]), (three, [0, 1, 1]), (three, [0, 1, -100])]
    sums = [language_model_loss(logits[None], torch.tensor([targets])) for logits, targets in cases]
    return [round(float(total / counted), 4) for total, counted in sums]


COMPUTED: dict[str, tuple[Any, Callable[[], Any]]] = {
    "5 124M untied": (163_009_536, lambda: count()),
    "5 124M tied": (124_412_160, lambda: count(tie_embeddings=True)),
    "5 124M with q/k/v biases, untied": (163_037_184, lambda: count(qkv_bias=True)),
    "5 124M with q/k/v biases, tied": (124_439_808, lambda: count(qkv_bias=True, tie_embeddings=True)),
    "5 124M, context 256, untied": (162_419_712, lambda: count(context_length=256)),
    "5 355M untied": (406_212_608, lambda: count("355M")),
    "5 774M untied": (838_220_800, lambda: count("774M")),
    "5 1558M untied": (1_637_792_000, lambda: count("1558M")),
    "5 355M tied": (354_749_440, lambda: count("355M", tie_embeddings=True)),
    "5 774M tied": (773_891_840, lambda: count("774M", tie_embeddings=True)),
    "5 1558M tied": (1_557_380_800, lambda: count("1558M", tie_embeddings=True)),
    "5 a block: attention, feed-forward, norms": ([2_360_064, 4_722_432, 3_072], block_counts),
    "6 draws at temperature 1": ([73, 0, 0, 582, 2, 0, 0, 343, 0], lambda: toy_draws(1.0)),
    "6 draws at temperature 0.1: the first choice": (985, lambda: max(toy_draws(0.1))),
    "6 draws at temperature 5": ([165, 75, 42, 239, 71, 46, 32, 227, 103], lambda: toy_draws(5.0)),
    "7.0 LoRA, rank 16: 124M classifier, 355M language model": ([2_666_528, 7_898_384], lora_counts),
    "7.1 last block, norm and head, with q/k/v biases": (7_090_946, lambda: last_block(True)),
    "7.1 last block, norm and head, without": (7_088_642, lambda: last_block(False)),
    "7.2 masking demonstration": ([1.1269, 0.7936, 1.1269], masking_losses),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_figure_from_arithmetic(name: str) -> None:
    expected, compute = COMPUTED[name]
    assert compute() == expected


def test_untrained_124m_loses_what_an_even_guess_loses(files: Files) -> None:
    """Published: 10.988 and 10.981, ln 50257 = 10.825; within 2 % for another initialization."""
    model = GPT(shape(context_length=256, dropout=0.0), torch.Generator().manual_seed(123)).eval()
    tokens = torch.tensor(files.part_tokens["validation"])
    with torch.no_grad():
        total, counted = language_model_loss(model(tokens[None, :256]), tokens[None, 1:257])
    assert float(total / counted) == pytest.approx(10.981, rel=0.02)


def test_the_pinned_sources_are_the_mirrors_files(mirror: Path) -> None:
    """conf/data/book.yaml names the real files by their hashes."""
    from corpus.sources import digest_of
    from pipeline.params import read_yaml

    download = read_yaml(Path(__file__).resolve().parent.parent / "conf/data/book.yaml")["download"]
    sources = [source for kind, files in download.items() if kind != "world" for source in files]
    assert len(sources) == 5
    for source in sources:
        assert digest_of(mirror / (source["member"] or source["url"].rsplit("/", 1)[-1])) == source["sha256"]
    assert json.loads((mirror / "instruction-data.json").read_text())[0]["instruction"]
