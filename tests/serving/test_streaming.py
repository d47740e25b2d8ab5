"""Pieces of text: whole characters, and answers that never show what is cut away in the end."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.prompts import END_OF_TEXT, TEMPLATES, extract_answer
from gpt.tokenizer import train_encoding
from serving.streaming import answer_pieces, text_pieces

ENCODING = train_encoding(["plain words only"], 260)
MARKS = [END_OF_TEXT, *(mark for t in TEMPLATES.values() for mark in (t.user.strip(), t.answer.strip(), *t.turns))]


def test_a_character_comes_when_its_last_byte_has_come() -> None:
    text = "a😀é\n"
    tokens = ENCODING.encode_ordinary(text)
    assert len(tokens) > len(text)  # several tokens a character
    assert list(text_pieces(tokens, ENCODING)) == list(text)


@pytest.mark.parametrize("cut", range(1, 8))
def test_half_a_character_at_the_end_is_what_decoding_makes_of_it(cut: int) -> None:
    tokens = ENCODING.encode_ordinary("a😀é")[:cut]
    assert "".join(text_pieces(tokens, ENCODING)) == ENCODING.decode(tokens)


@given(
    st.sampled_from(sorted(TEMPLATES)),
    st.lists(st.one_of(st.sampled_from([*MARKS, " ", "\n", "#", "<|", "### "]), st.text(max_size=3)), max_size=8),
    st.integers(1, 5),
)
def test_pieces_of_an_answer_are_the_answer(template: str, parts: list[str], size: int) -> None:
    text = "".join(parts)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    answer = extract_answer(text, template)
    shown = list(accumulate(answer_pieces(pieces, template), initial=""))
    assert shown[-1] == answer
    assert all(answer.startswith(part) for part in shown)


def test_what_is_sure_is_shown_at_once() -> None:
    pieces = iter(["Two", " foxes", " #", " 1"])
    answer = answer_pieces(pieces, "alpaca")
    assert next(answer) == "Two"
    assert list(pieces) == [" foxes", " #", " 1"]
