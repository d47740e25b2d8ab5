"""The base model, writing on."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from gpt.generate import generate
from serving.complete import Writer
from tests.serving.conftest import CONTEXT_LENGTH

TEXT = "The cat sees"


@pytest.fixture(scope="module")
def writer(folders: dict[str, Path]) -> Writer:
    return Writer.load(folders["base"], folders["tokenizer"])


def greedy(writer: Writer, text: str, n: int = 8) -> str:
    return "".join(writer.stream(text, temperature=0.0, max_new_tokens=n))


def test_a_continuation_is_what_the_model_generates(writer: Writer) -> None:
    end = writer.encoding.eot_token
    (tokens,) = generate(writer.model, [writer.encoding.encode_ordinary(TEXT)], max_new_tokens=8, stop_token=end)
    assert tokens
    assert greedy(writer, TEXT) == writer.encoding.decode(tokens)


def test_the_folder_says_whether_documents_begin_with_the_end_of_text(writer: Writer, workspace: Path) -> None:
    other = Writer.load(workspace / "models/base", workspace / "data/tokenizer")
    end, tokens = writer.encoding.eot_token, writer.encoding.encode_ordinary(TEXT)
    assert writer.prompt_tokens(TEXT) == tokens
    assert other.prompt_tokens(TEXT) == [end, *tokens]
    assert other.next_tokens(TEXT) != writer.next_tokens(TEXT)
    assert writer.prompt_tokens("") == other.prompt_tokens("") == [end]


def test_a_blank_at_the_end_is_the_next_words_own(writer: Writer) -> None:
    without, with_one = greedy(writer, TEXT), greedy(writer, TEXT + " ")
    assert writer.next_tokens(TEXT) == writer.next_tokens(TEXT + "  ")
    assert with_one == without.removeprefix(" ")


def test_the_seed_decides_what_is_drawn(writer: Writer) -> None:
    first, again, other = ("".join(writer.stream(TEXT, max_new_tokens=8, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_next_tokens_are_probabilities_likeliest_first(writer: Writer) -> None:
    ranked = writer.next_tokens(TEXT, 10_000)
    values = [probability for _, probability in ranked]
    assert len(ranked) == writer.encoding.n_vocab
    assert values == sorted(values, reverse=True)
    assert math.isclose(sum(values), 1.0, rel_tol=1e-4)
    assert writer.next_tokens(TEXT, 3) == ranked[:3]
    assert greedy(writer, TEXT, 1) == ranked[0][0]


def test_of_a_long_text_the_newest_tokens_are_read(writer: Writer) -> None:
    long = "The dog sees the cat. " * CONTEXT_LENGTH + TEXT
    cut = writer.encoding.decode(writer.prompt_tokens(long)[-CONTEXT_LENGTH:])
    assert writer.next_tokens(long) == writer.next_tokens(cut)
    assert greedy(writer, long) == greedy(writer, cut)


def test_settings_out_of_range_are_refused(writer: Writer) -> None:
    with pytest.raises(ValueError, match="max_new_tokens is 0: at least 1 is allowed"):
        writer.stream(TEXT, max_new_tokens=0)
    with pytest.raises(ValueError, match="top_p is 2"):
        list(writer.stream(TEXT, top_p=2.0))
