"""Tokens as text while they come: characters whose bytes lie in two tokens, and answers without what surrounds them."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

import tiktoken

from corpus.prompts import END_OF_TEXT, TEMPLATES, extract_answer


def text_pieces(tokens: Iterable[int], encoding: tiktoken.Encoding) -> Iterator[str]:
    """Joined, the pieces are the tokens' text; a character comes when its last byte has come, and no piece is empty."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in tokens:
        if piece := decoder.decode(encoding.decode_single_token_bytes(token)):
            yield piece
    if rest := decoder.decode(b"", final=True):
        yield rest


def answer_pieces(pieces: Iterable[str], template: str) -> Iterator[str]:
    """Joined, they are `extract_answer` of the joined `pieces`; held back is only what may turn out to be cut away."""
    marks = (END_OF_TEXT, TEMPLATES[template].answer.strip(), *TEMPLATES[template].turns)
    written, shown = "", 0
    for piece in pieces:
        written += piece
        answer = extract_answer(written, template)
        sure = answer[: len(answer) - begun(answer, marks)].rstrip()
        if len(sure) > shown:
            yield sure[shown:]
            shown = len(sure)
    if rest := extract_answer(written, template)[shown:]:
        yield rest


def begun(text: str, marks: Iterable[str]) -> int:
    """How many characters at the end of `text` may be the beginning of a mark."""
    return max((n for mark in marks for n in range(1, len(mark)) if text.endswith(mark[:n])), default=0)
