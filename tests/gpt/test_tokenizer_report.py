"""The comparison of BPE, WordPiece and Unigram."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from gpt.tokenizer_report import compare_tokenizers, vocabulary_use

TEXTS = ["the cat sat on the mat " * 20, "a dog and a log; 12 cats' hats! ##the [UNK]\n" * 5, "", "x" * 300 + " ñandú"]


def test_rows_add_up() -> None:
    rows = compare_tokenizers(lambda: iter(TEXTS), 100)
    n_bytes = sum(len(text.encode()) for text in TEXTS)
    assert [row.algorithm for row in rows] == ["bpe", "wordpiece", "unigram"]
    for row in rows:
        assert row.tokens * row.bytes_per_token == pytest.approx(n_bytes)
        assert 0 < row.vocabulary_use <= 1
        assert row.bytes_per_token > 1
    assert rows[0].vocab_size <= 100


def test_the_report_is_the_same_in_another_process() -> None:
    code = f"from gpt.tokenizer_report import compare_tokenizers; print(compare_tokenizers(lambda: {TEXTS!r}, 120))"
    runs = {subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout for _ in range(3)}
    assert len(runs) == 1


def test_no_text_is_an_error() -> None:
    with pytest.raises(ValueError, match="no text"):
        compare_tokenizers(lambda: iter([""]), 300)


def test_vocabulary_use_is_counted_over_chunks() -> None:
    assert vocabulary_use(np.array([0, 1, 1, 3, 0], np.uint16), 8, chunk=2) == 3 / 8
