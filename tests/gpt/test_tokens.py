"""Token files: bytes, documents, sources."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.tokens import TokenWriter, entropy_floor, open_tokens, read_index, source_ranges, token_type

END = 99


def write(folder: Path, documents: list[tuple[str, str, list[int]]], vocab_size: int = 100) -> None:
    with TokenWriter(folder, ("train", "validation"), vocab_size, END) as writer:
        for part, source, ids in documents:
            writer.add(part, source, np.array(ids, np.uint32))


@given(st.lists(st.lists(st.integers(0, 98), max_size=8), max_size=8))
def test_documents_come_back(tmp_path_factory: pytest.TempPathFactory, documents: list[list[int]]) -> None:
    folder = tmp_path_factory.mktemp("tokens")
    write(folder, [("train", "own", ids) for ids in documents])
    tokens, index = open_tokens(folder, "train"), read_index(folder, "train")
    assert [tokens[start : start + length].tolist() for start, length in index] == documents
    assert (tokens == END).sum() == max(0, len(documents) - 1)
    assert len(tokens) == sum(map(len, documents)) + max(0, len(documents) - 1)


def test_layout_and_ranges(tmp_path: Path) -> None:
    write(tmp_path, [("train", "b", [1, 2]), ("validation", "b", [9]), ("train", "b", [3]), ("train", "a", [4, 5])])
    assert (tmp_path / "train.bin").read_bytes() == np.array([1, 2, END, 3, END, 4, 5], "<u2").tobytes()
    about = json.loads((tmp_path / "tokens.json").read_text())
    assert about["parts"]["train"] == {
        "documents": 3,
        "nats": None,
        "sources": {"a": {"documents": [2, 3], "tokens": [5, 7]}, "b": {"documents": [0, 2], "tokens": [0, 4]}},
        "tokens": 7,
    }
    assert source_ranges(tmp_path, "train") == {"b": (0, 4), "a": (5, 7)}
    assert about["parts"]["validation"]["tokens"] == 1


def test_the_floor_counts_end_tokens_and_is_there_only_where_every_document_s_surprisal_is(tmp_path: Path) -> None:
    with TokenWriter(tmp_path, ("train", "validation"), 100, END) as writer:
        writer.add("train", "a", np.array([1, 2, 3]), nats=4.0)
        writer.add("train", "a", np.array([4]), nats=2.0)
        writer.add("validation", "a", np.array([5]), nats=1.0)
        writer.add("validation", "b", np.array([6]))
    assert entropy_floor(tmp_path, "train") == 6.0 / (3 + 1 + 1 + 1)
    assert np.load(tmp_path / "train.nats.npy", allow_pickle=False).tolist() == [4.0, 2.0]
    assert entropy_floor(tmp_path, "validation") is None
    assert not (tmp_path / "validation.nats.npy").exists()


def test_large_vocabularies_take_four_bytes(tmp_path: Path) -> None:
    write(tmp_path, [("train", "own", [70000])], vocab_size=100_000)
    assert open_tokens(tmp_path, "train").tolist() == [70000]
    assert (token_type(65536).itemsize, token_type(65537).itemsize) == (2, 4)


def test_a_source_must_not_come_back(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'a' comes back after 'b'"):
        write(tmp_path, [("train", "a", [1]), ("train", "b", [2]), ("train", "a", [3])])
    assert not (tmp_path / "tokens.json").exists()


def test_a_short_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [("train", "own", [1, 2, 3])])
    with (tmp_path / "train.bin").open("r+b") as file:
        file.truncate(4)
    with pytest.raises(ValueError, match=r"4 bytes long, but tokens.json counts 6"):
        open_tokens(tmp_path, "train")
    with pytest.raises(ValueError, match="no part 'test': it has train, validation"):
        open_tokens(tmp_path, "test")


def test_tokens_are_mapped_not_read(tmp_path: Path) -> None:
    write(tmp_path, [("train", "own", list(range(50)))])
    tokens = open_tokens(tmp_path, "train")
    assert isinstance(tokens, np.memmap)
    assert not tokens.flags.writeable
