"""Whole documents in rows: nothing lost, nothing seen twice, and no document sees another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt.config import GPTConfig
from gpt.evaluate import text_losses, window_loss
from gpt.loss import IGNORED, language_model_loss
from gpt.model import GPT
from gpt.packing import PackedDocuments, pack, pieces_of
from gpt.runtime import choose_runtime

END = 50
LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=40)


def corpus(lengths: list[int]) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    """Tokens of documents joined by the end token, their index, and the documents."""
    draws = np.random.default_rng(1)
    documents = [draws.integers(0, END, length).tolist() for length in lengths]
    flat: list[int] = []
    index = []
    for document in documents:
        flat += [END] * bool(flat)
        index.append((len(flat), len(document)))
        flat += document
    return np.array(flat, np.uint16), np.array(index), documents


def rows_of(tokens: np.ndarray, index: np.ndarray, capacity: int, lookahead: int = 8) -> PackedDocuments:
    pieces = pieces_of(index, capacity)
    rows = pack(pieces[:, 1].tolist(), capacity, lookahead)
    order = [piece for row in rows for piece in row]
    numbers = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    return PackedDocuments(tokens, np.column_stack([numbers, pieces[order]]), capacity, END)


@given(LENGTHS, st.integers(1, 8))
def test_every_piece_gets_one_place_and_no_row_overflows(lengths: list[int], lookahead: int) -> None:
    rows = pack(lengths, 30, lookahead)
    assert sorted(piece for row in rows for piece in row) == list(range(len(lengths)))
    assert all(row and sum(lengths[piece] for piece in row) <= 30 for row in rows)


def test_rows_are_well_filled() -> None:
    lengths = np.random.default_rng(1).integers(20, 120, 5_000).tolist()
    rows = pack(lengths, 256)
    assert sum(lengths) / (len(rows) * 256) > 0.97
    with pytest.raises(ValueError, match="a piece of 9 tokens: rows have room for 1 to 8"):
        pack([3, 9], 8)


@given(LENGTHS)
def test_the_targets_are_the_documents_each_with_its_end(lengths: list[int]) -> None:
    tokens, index, documents = corpus(lengths)
    rows = rows_of(tokens, index, 32)
    inputs, targets, positions = rows.batch(range(len(rows)))
    found = []
    for x, y, p in zip(inputs.tolist(), targets.tolist(), positions.tolist(), strict=True):
        kept = [(a, b, c) for a, b, c in zip(x, y, p, strict=True) if b != IGNORED]
        for a, b, c in kept:
            if c == 0:
                assert a == END
                found.append([b])
            else:
                assert a == found[-1][-1] and c == len(found[-1])
                found[-1].append(b)
    assert sorted(found) == sorted([*document, END] for document in documents)


def test_a_document_longer_than_a_row_is_cut_and_nothing_lost() -> None:
    tokens, index, documents = corpus([70])
    rows = rows_of(tokens, index, 32)
    _, targets, _ = rows.batch(range(len(rows)))
    order = np.argsort(rows.pieces[:, 1])
    assert len(rows.pieces) == 3
    assert [t for row in targets[order].tolist() for t in row if t != IGNORED] == [*documents[0], END]


def test_a_packed_document_is_scored_as_if_it_stood_alone() -> None:
    config = GPTConfig(vocab_size=END + 1, context_length=32, emb_dim=16, n_heads=2, n_layers=2, dropout=0.0)
    model = GPT(config, torch.Generator().manual_seed(1)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # far from uniform
    tokens, index, documents = corpus([5, 20, 7, 30, 9, 3])
    runtime = choose_runtime("cpu", "float32", "off", 1, 0, model.n_parameters)
    rows = rows_of(tokens, index, 32)
    packed, counted = window_loss(model, rows, 2, runtime)
    alone = []
    with torch.no_grad():
        for document in documents:
            text = torch.tensor([END, *document, END])
            alone.append(language_model_loss(model(text[None, :-1]), text[None, 1:])[0].item())
    assert counted == sum(map(len, documents)) + len(documents)
    assert packed == pytest.approx(sum(alone) / counted, rel=1e-5)
    nats, counts = text_losses(model, rows, 2, runtime)
    order = np.argsort(rows.pieces[:, 1])
    assert counts[order].tolist() == [len(document) + 1 for document in documents]
    assert nats[order].tolist() == pytest.approx(alone, rel=1e-5)


def test_a_piece_outside_the_file_is_refused() -> None:
    with pytest.raises(ValueError, match="past the 4 tokens"):
        PackedDocuments(np.zeros(4, np.uint16), np.array([[0, 2, 4]]), 8, END)
