"""The world on disk: the same bytes for the same arguments, on every platform and Python version."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from corpus.documents import read_documents
from corpus.instructions import read_instructions
from corpus.messages import read_messages
from corpus.world.write import write_instructions, write_messages, write_stories

GOLDEN = {
    "instructions.json": "8b3312c6ffbc5225296c66e5cfd4c6f94f58f501670468984749d348a4445720",
    "messages.tsv": "b972c4fead5b07cd9126e105bdc8cbdc6a2973a69e38351817817431b59b6e72",
    "stories.jsonl": "2778091a806f8f02011e64fdacd52adb2a1686a2d3e2669a53f66c2b7f484851",
}


def write_world(folder: Path, seed: int, text_bytes: int, messages: int, instructions: int) -> None:
    folder.mkdir(exist_ok=True)
    write_stories(folder / "stories.jsonl", text_bytes, seed)
    write_messages(folder / "messages.tsv", messages, seed)
    write_instructions(folder / "instructions.json", instructions, seed)


def test_the_bytes_are_pinned(tmp_path):
    write_world(tmp_path / "world", seed=123, text_bytes=50_000, messages=100, instructions=150)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "world").iterdir()}
    assert digests == GOLDEN


def test_the_files_are_read_by_the_house(tmp_path):
    write_world(tmp_path, seed=1, text_bytes=2_000, messages=10, instructions=15)
    assert set(read_messages(tmp_path / "messages.tsv", ["ham", "spam"])["label"]) == {"ham", "spam"}
    assert len(read_instructions(tmp_path / "instructions.json")) == 18
    (tmp_path / "text").mkdir()
    (tmp_path / "stories.jsonl").rename(tmp_path / "text" / "stories.jsonl")
    assert all(document.text for document in read_documents(tmp_path / "text", None))


def test_another_seed_is_another_world(tmp_path):
    for seed in (1, 2):
        write_world(tmp_path / str(seed), seed=seed, text_bytes=1_000, messages=4, instructions=15)
    for name in ("stories.jsonl", "messages.tsv", "instructions.json"):
        assert (tmp_path / "1" / name).read_bytes() != (tmp_path / "2" / name).read_bytes()


def test_sizes_below_the_least_are_refused(tmp_path):
    for write, name in ((write_stories, "n_bytes"), (write_messages, "messages"), (write_instructions, "instructions")):
        with pytest.raises(ValueError, match=f"{name} is 0|0 .*{name}"):
            write(tmp_path / "file", 0, 1)
