"""A trained assistant as people use it: an instruction (and an input) in, the answer out, whole or as it comes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import tiktoken

from corpus.prompts import extract_answer, format_prompt
from gpt.compact import compact
from gpt.generate import generate, stream
from gpt.hf_format import load_gpt2
from gpt.model import GPT
from gpt.seeds import generator
from gpt.settings import read_settings
from gpt.tokenizer_files import load_encoding
from serving.streaming import answer_pieces, text_pieces


class Assistant:
    def __init__(self, model: GPT, encoding: tiktoken.Encoding, template: str, max_new_tokens: int):
        self.model, self.encoding = model.eval(), encoding
        self.template, self.max_new_tokens = template, max_new_tokens

    @classmethod
    def load(cls, model: Path, tokenizer: Path, weights: str = "float32") -> Assistant:
        """weights: the format to hold them in, of `gpt.compact`."""
        template, max_new_tokens = read_settings(model, "template", "max_new_tokens")
        return cls(compact(load_gpt2(model), weights), load_encoding(tokenizer), template, max_new_tokens)

    def prompt_tokens(self, instruction: str, text: str = "") -> list[int]:
        """ValueError when the prompt leaves no room for an answer."""
        prompt = format_prompt({"instruction": instruction, "input": text}, self.template)
        tokens = self.encoding.encode_ordinary(prompt)
        limit = self.model.config.context_length
        if len(tokens) >= limit:
            raise ValueError(f"the prompt has {len(tokens)} tokens: at most {limit - 1} are allowed")
        return tokens

    def answers(
        self,
        entries: Sequence[tuple[str, str]],
        *,
        temperature: float = 0.0,
        top_k: int | None = None,
        seed: int = 0,
        max_new_tokens: int | None = None,
    ) -> list[str]:
        """The answers to (instruction, input) pairs, generated as one batch; temperature 0 is greedy.

        max_new_tokens: less than the model's own setting, for shorter answers. ValueError when it is out of range, or
        a prompt is too long.
        """
        written = generate(
            self.model,
            [self.prompt_tokens(*entry) for entry in entries],
            max_new_tokens=self.limit(max_new_tokens),
            temperature=temperature,
            top_k=top_k,
            stop_token=self.encoding.eot_token,
            generator=generator(seed, "answers"),
        )
        return [extract_answer(self.encoding.decode(tokens), self.template) for tokens in written]

    def stream(
        self,
        instruction: str,
        text: str = "",
        *,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        max_new_tokens: int | None = None,
    ) -> Iterator[str]:
        """The answer to one instruction and its input `text`, piece by piece: the one that `answers` gives to it."""
        tokens = stream(
            self.model,
            self.prompt_tokens(instruction, text),
            max_new_tokens=self.limit(max_new_tokens),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            stop_token=self.encoding.eot_token,
            generator=generator(seed, "answers"),
        )
        return answer_pieces(text_pieces(tokens, self.encoding), self.template)

    def limit(self, max_new_tokens: int | None) -> int:
        """The longest answer in tokens: the model's own setting, or less; ValueError when it is out of range."""
        limit = self.max_new_tokens if max_new_tokens is None else max_new_tokens
        if not 1 <= limit <= self.max_new_tokens:
            raise ValueError(f"max_new_tokens is {limit}: 1 to {self.max_new_tokens} are allowed")
        return limit
