"""The base model as people use it: a text in, its continuation out, and what could come next with its probability."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import tiktoken
import torch

from gpt.compact import compact
from gpt.generate import stream
from gpt.hf_format import load_gpt2
from gpt.model import GPT
from gpt.seeds import generator
from gpt.settings import FILE, read_settings
from gpt.tokenizer_files import load_encoding
from serving.streaming import text_pieces


class Writer:
    """begins_with_end_of_text: whether every document the model was trained on stood behind an end-of-text token."""

    def __init__(self, model: GPT, encoding: tiktoken.Encoding, begins_with_end_of_text: bool = False):
        self.model, self.encoding = model.eval(), encoding
        self.begins_with_end_of_text = begins_with_end_of_text

    @classmethod
    def load(cls, model: Path, tokenizer: Path, weights: str = "float32") -> Writer:
        """weights: the format to hold them in, of `gpt.compact`."""
        begins = (model / FILE).exists() and read_settings(model, "begins_with_end_of_text")[0]
        return cls(compact(load_gpt2(model), weights), load_encoding(tokenizer), bool(begins))

    def prompt_tokens(self, text: str) -> list[int]:
        """An empty text is a new document, which an end-of-text token begins in any case.

        Blanks at the end are left out: a word brings its own, so that in training hardly any stood alone.
        """
        tokens = self.encoding.encode_ordinary(text.rstrip(" "))
        begins = self.begins_with_end_of_text or not tokens
        return [self.encoding.eot_token] * begins + tokens

    def stream(
        self,
        text: str,
        *,
        max_new_tokens: int = 200,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> Iterator[str]:
        """What follows `text` as it stands, piece by piece, up to the document's end; temperature 0 is greedy.

        The model reads the newest tokens that its context holds. ValueError when a setting is out of range.
        """
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {max_new_tokens}: at least 1 is allowed")
        tokens = stream(
            self.model,
            self.prompt_tokens(text),
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            stop_token=self.encoding.eot_token,
            generator=generator(seed, "completion"),
        )
        return behind(text, text_pieces(tokens, self.encoding))

    @torch.inference_mode()
    def next_tokens(self, text: str, n: int = 10) -> list[tuple[str, float]]:
        """The n likeliest tokens behind `text`, likeliest first, each with its probability at temperature 1."""
        tokens = self.prompt_tokens(text)[-self.model.config.context_length :]
        last = self.model.hidden(torch.tensor([tokens]))[0, -1]
        best = self.model.head(last).float().softmax(dim=-1).topk(min(n, self.encoding.n_vocab))
        texts = [self.encoding.decode([token]) for token in best.indices.tolist()]
        return list(zip(texts, best.values.tolist(), strict=True))


def behind(text: str, pieces: Iterable[str]) -> Iterator[str]:
    """The pieces as they go behind the text: without the first one's blank where the text brings it already."""
    for piece in pieces:
        yield piece.removeprefix(" ") if text.endswith(" ") else piece
        text = ""
