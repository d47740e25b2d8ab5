"""Weights in fewer bytes: how far from float32's they are, and what stays as it was."""

from __future__ import annotations

import copy
import mmap

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gpt.compact import FORMATS, LARGE_PAGE, BFloat16Linear, Int8Linear, compact, move_to_large_pages
from gpt.config import GPTConfig
from gpt.decode import Decoder
from gpt.generate import generate
from gpt.kv_cache import KVCache
from gpt.model import GPT

CONFIG = GPTConfig(
    vocab_size=53, context_length=24, emb_dim=32, n_heads=4, n_layers=2, dropout=0.5, tie_embeddings=True
)
TOKENS = torch.randint(0, 53, (8, 24), generator=torch.Generator().manual_seed(1))
NARROW = {"bfloat16": 2, "int8": 1}  # bytes


@pytest.fixture
def model() -> GPT:
    """With outputs far from even, where an error shows."""
    model = GPT(CONFIG, torch.Generator().manual_seed(7)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)
    return model


@pytest.mark.parametrize("weights", NARROW)
@torch.no_grad()
def test_the_loss_is_nearly_that_of_float32(model: GPT, weights: str) -> None:
    small = compact(copy.deepcopy(model), weights)
    logits, expected = small(TOKENS), model(TOKENS)
    assert not torch.equal(logits, expected)
    assert (logits - expected).abs().mean() < 0.02 * expected.abs().mean()
    losses = [F.cross_entropy(found[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten()) for found in (logits, expected)]
    torch.testing.assert_close(*losses, rtol=0.01, atol=0.0)


@pytest.mark.parametrize("weights", NARROW)
def test_matrices_take_fewer_bytes_and_all_else_stays(model: GPT, weights: str) -> None:
    embedding = model.embeddings.token.weight.clone()
    sizes = [layer.weight.numel() for layer in model.modules() if isinstance(layer, nn.Linear)]
    small = compact(model, weights)
    layers = [layer for layer in small.modules() if isinstance(layer, BFloat16Linear | Int8Linear)]
    assert [layer.weight.numel() for layer in layers] == sizes
    assert {layer.weight.element_size() for layer in layers} == {NARROW[weights]}
    assert torch.equal(small.embeddings.token.weight, embedding)
    assert small.blocks[0].norm1.weight.dtype == small.blocks[0].feed_forward.expand.bias.dtype == torch.float32


@pytest.mark.parametrize("weights", FORMATS)
def test_the_same_request_gets_the_same_answer(model: GPT, weights: str) -> None:
    small = compact(model, weights)
    for options in ({}, {"temperature": 1.0, "top_k": 20}):
        first, again = (
            generate(small, [[1, 2, 3], [4]], max_new_tokens=30, generator=torch.Generator().manual_seed(5), **options)
            for _ in range(2)
        )
        assert first == again
        assert [len(row) for row in first] == [30, 30]


@pytest.mark.parametrize("weights", NARROW)
@torch.inference_mode()
def test_a_token_alone_gives_nearly_what_many_at_once_give(model: GPT, weights: str) -> None:
    small = compact(model, weights)
    cache = KVCache(CONFIG.n_layers, 24)
    small(TOKENS[:1, :4], cache)
    decoder = Decoder(small, cache, rows=1)
    alone = torch.cat([decoder(TOKENS[:1, column]) for column in range(4, 24)])
    together = small(TOKENS)[0, 4:]
    assert (alone - together).abs().mean() < 0.02 * together.abs().mean()


@torch.no_grad()
def test_what_a_format_can_hold_is_held_exactly() -> None:
    layer = nn.Linear(64, 5, bias=True)
    whole = torch.randint(-126, 127, (5, 64), generator=torch.Generator().manual_seed(3)).float()
    whole[:, 0] = 127.0
    layer.weight.copy_(whole / 1024)
    layer.weight[4] = 0.0  # no scale fits a row of zeros
    x = torch.zeros(3, 64)
    x[0, 0], x[1, 5], x[2, 63] = 1.0, 0.5, -2.0
    for kind in (BFloat16Linear, Int8Linear):
        assert torch.equal(kind(layer)(x), layer(x))
        assert torch.equal(kind(layer)(x[1]), layer(x[1]))
        assert kind(layer)(x[None]).shape == (1, 3, 5)


def test_float32_is_the_model_itself(model: GPT) -> None:
    assert compact(model, "float32") is model
    assert type(model.head) is nn.Linear and model.head.weight is model.embeddings.token.weight


def test_another_format_is_refused(model: GPT) -> None:
    with pytest.raises(ValueError, match="weights is 'int4': it must be one of float32, bfloat16, int8"):
        compact(model, "int4")


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="this system has no large pages to ask for")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_large_pages_hold_the_same_numbers(dtype: torch.dtype) -> None:
    large, small = (torch.randint(-99, 99, (rows, 2048)).to(dtype) for rows in (3 * 512, 3))
    before, places = [large.clone(), small.clone()], [large.data_ptr(), small.data_ptr()]
    move_to_large_pages([large, small])
    assert torch.equal(large, before[0]) and torch.equal(small, before[1])
    assert large.data_ptr() % LARGE_PAGE == 0 and large.data_ptr() != places[0]
    assert small.data_ptr() == places[1]
