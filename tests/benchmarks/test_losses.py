"""What the time to a loss is measured on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.losses import LONGER, PEAK, SHORTER, first_at, material, tuned

TEXT = "The ferry left at nine, and nobody on the pier had a coat. " * 60


@pytest.fixture
def text(tmp_path: Path) -> str:
    file = tmp_path / "text.txt"
    file.write_text(TEXT, encoding="utf-8")
    return str(file)


def test_a_file_is_learned_byte_by_byte_and_its_end_is_kept_for_validation(text: str) -> None:
    found = material("bytes", text, 32)
    inputs, targets = found.train.batch([0])
    assert bytes(inputs[0].tolist()) == TEXT[:32].encode() and bytes(targets[0].tolist()) == TEXT[1:33].encode()
    border = round(len(TEXT) * 0.96)
    first, _ = found.validation.batch([0])
    assert bytes(first[0].tolist()) == TEXT[border:][:32].encode()
    assert found.vocab_size == 256 and sum(found.order.sizes) == len(found.train)
    assert np.array_equal(np.sort(found.order.batch(0, len(found.train))), np.arange(len(found.train)))


def test_pieces_of_words_are_fewer_than_bytes(text: str) -> None:
    pieces, plain = material("pieces", text, 8), material("bytes", text, 8)
    assert len(pieces.train) < len(plain.train) / 2 and 256 < pieces.vocab_size <= 2000
    inputs, targets = pieces.train.batch(range(len(pieces.train)))
    assert inputs[:, 1:].equal(targets[:, :-1]) and int(inputs.max()) < pieces.vocab_size


def test_a_text_too_short_to_measure_on_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"text\.txt is too short: its last 4% must hold a row of 320 tokens"):
        material("bytes", text, 320)


def test_the_first_evaluation_at_or_below_a_loss_counts() -> None:
    curve = [[0.0, 4.0], [1.0, 2.5], [2.0, 2.0], [3.0, 1.5]]
    assert first_at(curve, 2.0) == 2.0 and first_at(curve, 2.2) == 2.0 and first_at(curve, 1.0) is None


def test_the_peers_peak_is_sought_until_its_neighbours_are_worse() -> None:
    best = 8 * PEAK

    def curve(length: int, peak: float) -> list[list[float]]:
        if peak > best:
            return [[1.0, float("inf")]]  # it diverged
        return [[length * 10.0 * best / peak, 1.0]]

    found = tuned(curve, 1.0)
    assert set(found) == {(LONGER, PEAK * 2.0**power) for power in range(-1, 5)} | {(SHORTER, best)}


def test_a_peer_that_never_gets_there_is_sought_by_where_it_ends() -> None:
    found = tuned(lambda length, peak: [[1.0, 2.0 + abs(peak - PEAK / 2)]], 1.0)
    assert set(found) == {(LONGER, PEAK / 4), (LONGER, PEAK / 2), (LONGER, PEAK), (SHORTER, PEAK / 2)}
