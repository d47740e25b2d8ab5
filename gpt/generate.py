"""Chapter 6: generation: score the next token, choose one, append it, again.

Texts of different lengths run as one batch: shorter ones are padded on the left, where no token looks at the padding,
so that each row gets what it would get alone. A row that reaches the stop token leaves the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from gpt.decode import Decoder
from gpt.kv_cache import KVCache
from gpt.model import GPT


def sample_next(
    logits: Tensor,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """logits (B, V) -> the chosen tokens (B,) int64.

    temperature: 0 takes the likeliest; otherwise logits are divided by it. top_k: only the k likeliest stay.
    top_p: only the likeliest that together reach this probability. Draws are made where `generator` lives, so that one
    on the CPU draws alike for every device. Raises ValueError on values out of range, or without a generator to draw.
    """
    check_sampling(temperature, top_k, top_p, generator)
    if temperature == 0.0:
        return logits.argmax(dim=-1)
    logits = logits.float() / temperature
    if top_k is not None:
        least = logits.topk(min(top_k, logits.size(-1))).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    if top_p is not None:
        ordered, order = logits.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(dim=-1)
        likelier = probabilities.cumsum(dim=-1) - probabilities  # what stands before each; 0 for the first: it stays
        logits = ordered.masked_fill(likelier >= top_p, float("-inf")).gather(-1, order.argsort(dim=-1))
    assert generator is not None
    drawn = torch.multinomial(logits.softmax(dim=-1).to(generator.device), num_samples=1, generator=generator)
    return drawn.squeeze(-1).to(logits.device)


def generate(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_token: int | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
) -> list[list[int]]:
    """Continue each prompt by up to max_new_tokens; returns only the new tokens of each, without the stop token.

    The arguments are those of `sample_next`. When a text outgrows the context, its newest tokens are what the model
    reads. Raises ValueError on an empty prompt, a token outside the vocabulary, or settings out of range.
    """
    check_sampling(temperature, top_k, top_p, generator)
    if not prompts:
        return []
    answers: list[list[int]] = [[] for _ in prompts]
    rows = list(range(len(prompts)))
    text = _Text(model, prompts, max_new_tokens, use_cache)
    with _evaluating(model):
        for _ in range(max_new_tokens):
            chosen = sample_next(text.next_logits(), temperature, top_k, top_p, generator)
            tokens = chosen.tolist()
            staying = [i for i, token in enumerate(tokens) if token != stop_token]
            for i in staying:
                answers[rows[i]].append(tokens[i])
            if not staying:
                break
            if len(staying) < len(rows):
                rows = [rows[i] for i in staying]
                chosen = text.keep(staying, chosen)
            text.append(chosen)
    return answers


def stream(
    model: GPT,
    prompt: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_token: int | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[int]:
    """Like `generate` for one prompt, each token as soon as it is known."""
    text = _Text(model, [prompt], max_new_tokens, use_cache=True)
    with _evaluating(model):
        for _ in range(max_new_tokens):
            chosen = sample_next(text.next_logits(), temperature, top_k, top_p, generator)
            token = int(chosen)
            if token == stop_token:
                return
            yield token
            text.append(chosen)


def check_sampling(
    temperature: float, top_k: int | None, top_p: float | None, generator: torch.Generator | None
) -> None:
    """Raises ValueError when the settings of `sample_next` make no sense."""
    if not temperature >= 0.0:
        raise ValueError(f"temperature is {temperature}: it must be at least 0 (0 takes the likeliest token)")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}: it must be at least 1, or none")
    if top_p is not None and not 0.0 < top_p <= 1.0:
        raise ValueError(f"top_p is {top_p}: it must be above 0 and at most 1, or none")
    if temperature > 0.0 and generator is None:
        raise ValueError(f"temperature is {temperature}, which draws at random: it takes a generator")


class _Text:
    """The growing texts of a batch, (B, T) with `padding` columns on the left of each row, and their cache."""

    def __init__(self, model: GPT, prompts: Sequence[Sequence[int]], max_new_tokens: int, use_cache: bool) -> None:
        config = model.config
        rows = [list(prompt)[-config.context_length :] for prompt in prompts]
        for number, row in enumerate(rows):
            if not row:
                raise ValueError(f"prompt {number} is empty: the model needs at least one token to start from")
            if not 0 <= min(row) <= max(row) < config.vocab_size:
                raise ValueError(f"prompt {number} has a token outside the vocabulary of {config.vocab_size}")
        width = max(map(len, rows))
        device = model.final_norm.weight.device
        self.model = model
        self.tokens = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=device)
        padding = [width - len(row) for row in rows]
        self.padding = torch.tensor(padding, device=device) if any(padding) else None
        capacity = min(config.context_length, width + max_new_tokens)
        self.cache = KVCache(config.n_layers, capacity) if use_cache else None
        self.decoder: Decoder | None = None  # of these rows

    @torch.inference_mode()
    def next_logits(self) -> Tensor:
        """What may follow each text: (B, V)."""
        overflow = self.tokens.size(1) - self.model.config.context_length
        tokens, padding = self.tokens, self.padding
        if overflow > 0:  # every token has moved to another position: what was cached no longer holds
            self.cache = None
            tokens = tokens[:, overflow:]
            padding = None if padding is None else (padding - overflow).clamp(min=0)
        elif self.cache is not None and self.cache.length:
            if self.decoder is None:
                self.decoder = Decoder(self.model, self.cache, len(tokens), padding)
            return self.decoder(tokens[:, -1])
        newest = torch.full((len(tokens), 1), tokens.size(1) - 1, device=tokens.device)
        return self.model.head(self.model.hidden(tokens, self.cache, padding, newest)[:, -1])

    @torch.inference_mode()
    def append(self, chosen: Tensor) -> None:
        """One more token (B,) for each text."""
        self.tokens = torch.cat([self.tokens, chosen[:, None]], dim=1)

    @torch.inference_mode()
    def keep(self, staying: list[int], chosen: Tensor) -> Tensor:
        """Drop the other rows; returns what was chosen for those that stay."""
        rows = torch.tensor(staying, device=self.tokens.device)
        self.tokens = self.tokens[rows]
        self.padding = None if self.padding is None else self.padding[rows]
        if self.cache is not None:
            self.cache.keep(rows)
            self.decoder = None
        return chosen[rows]


@contextmanager
def _evaluating(model: GPT) -> Iterator[None]:
    """Switches dropout off inside a `with`, and puts the mode back."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
