"""Generation: with and without the cache, in a batch and alone, greedy and sampled."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.config import GPTConfig
from gpt.decode import Decoder
from gpt.generate import generate, sample_next, stream
from gpt.kv_cache import KVCache
from gpt.model import GPT

CONFIG = GPTConfig(vocab_size=53, context_length=24, emb_dim=32, n_heads=4, n_layers=2, dropout=0.5)
MODEL = GPT(CONFIG, torch.Generator().manual_seed(7))
with torch.no_grad():  # weights large enough that the likeliest token is likelier by more than rounding
    for parameter in MODEL.parameters():
        parameter.mul_(4.0)

TOY_LOGITS = torch.tensor([[4.51, 0.89, -1.90, 6.75, 1.63, -1.62, -1.89, 6.28, 1.79]])
PROMPTS = st.lists(st.lists(st.integers(0, 52), min_size=1, max_size=30), min_size=1, max_size=5)


def seeded(seed: int = 123) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("temperature", "counts"),
    [
        (1.0, [73, 0, 0, 582, 2, 0, 0, 343, 0]),
        (0.1, [0, 0, 0, 985, 0, 0, 0, 15, 0]),
        (5.0, [165, 75, 42, 239, 71, 46, 32, 227, 103]),
    ],
)
def test_the_published_draws(temperature: float, counts: list[int]) -> None:
    generator = seeded()
    drawn = [int(sample_next(TOY_LOGITS, temperature, generator=generator)) for _ in range(1000)]
    assert [drawn.count(token) for token in range(9)] == counts


def test_top_k_and_top_p_keep_the_likeliest() -> None:
    many = TOY_LOGITS.expand(500, -1)
    assert set(sample_next(many, 5.0, top_k=3, generator=seeded()).tolist()) == {0, 3, 7}
    assert set(sample_next(many, 1.0, top_p=0.6, generator=seeded()).tolist()) == {3, 7}
    assert set(sample_next(many, 1.0, top_p=1e-6, generator=seeded()).tolist()) == {3}
    assert sample_next(many, 2.0, top_k=99, top_p=1.0, generator=seeded()).shape == (500,)


def test_temperature_zero_takes_the_likeliest() -> None:
    assert sample_next(TOY_LOGITS).tolist() == [3]


@settings(max_examples=25, deadline=None)
@given(prompts=PROMPTS)
def test_the_cache_changes_nothing_even_past_the_context(prompts: list[list[int]]) -> None:
    cached = generate(MODEL, prompts, max_new_tokens=12)
    assert cached == generate(MODEL, prompts, max_new_tokens=12, use_cache=False)
    assert all(len(answer) == 12 for answer in cached)


@pytest.mark.parametrize("padding", [None, [0, 3, 5]])
@torch.inference_mode()
def test_one_new_token_gives_what_the_whole_model_gives(padding: list[int] | None) -> None:
    rows, width = 3 if padding else 1, 9
    tokens = torch.randint(0, 53, (rows, width), generator=seeded())
    left = None if padding is None else torch.tensor(padding)
    MODEL.eval()
    cache = KVCache(CONFIG.n_layers, width)
    MODEL(tokens[:, :6], cache, left)
    decoder = Decoder(MODEL, cache, rows, left)
    for column in range(6, width):
        found = decoder(tokens[:, column])
        expected = MODEL(tokens[:, : column + 1], padding=left)[:, -1]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    assert cache.length == width


@settings(max_examples=25, deadline=None)
@given(prompts=PROMPTS, stop=st.integers(0, 52))
def test_a_batch_gives_what_each_prompt_gives_alone(prompts: list[list[int]], stop: int) -> None:
    alone = [generate(MODEL, [prompt], max_new_tokens=10, stop_token=stop)[0] for prompt in prompts]
    assert generate(MODEL, prompts, max_new_tokens=10, stop_token=stop) == alone


@settings(max_examples=10, deadline=None)
@given(prompt=st.lists(st.integers(0, 52), min_size=1, max_size=30), seed=st.integers(0, 2**31))
def test_a_stream_gives_the_same_tokens(prompt: list[int], seed: int) -> None:
    how = {"max_new_tokens": 10, "temperature": 1.5, "top_k": 20, "top_p": 0.95}
    streamed = list(stream(MODEL, prompt, generator=seeded(seed), **how))  # type: ignore[arg-type]
    assert streamed == generate(MODEL, [prompt], generator=seeded(seed), **how)[0]  # type: ignore[arg-type]


def test_the_stop_token_ends_a_row_and_is_left_out() -> None:
    full = generate(MODEL, [[1, 2, 3]], max_new_tokens=10)[0]
    stop = full[4]
    assert generate(MODEL, [[1, 2, 3]], max_new_tokens=10, stop_token=stop)[0] == full[: full.index(stop)]


def test_the_models_mode_comes_back_and_dropout_sleeps() -> None:
    MODEL.train()
    first = generate(MODEL, [[1, 2]], max_new_tokens=8)
    assert MODEL.training
    assert first == generate(MODEL.eval(), [[1, 2]], max_new_tokens=8)
    assert not MODEL.training


def test_nothing_to_do() -> None:
    assert generate(MODEL, [], max_new_tokens=3) == []
    assert generate(MODEL, [[1]], max_new_tokens=0) == [[]]


@pytest.mark.parametrize(
    ("prompts", "changes", "named"),
    [
        ([[1], []], {}, "prompt 1 is empty"),
        ([[53]], {}, "vocabulary of 53"),
        ([[1]], {"temperature": -1.0}, "temperature"),
        ([[1]], {"temperature": 1.0}, "generator"),
        ([[1]], {"top_k": 0}, "top_k"),
        ([[1]], {"top_p": 0.0}, "top_p"),
    ],
)
def test_bad_requests_are_refused(prompts: list[list[int]], changes: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        generate(MODEL, prompts, max_new_tokens=3, **changes)  # type: ignore[arg-type]
