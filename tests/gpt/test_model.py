"""The architecture: published sizes, causality, masks, initial weights, and the two ways to attend."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt import attention
from gpt.attention import Attention, CausalAttention, attend_written_out
from gpt.block import FeedForward, gelu_by_sigmoid
from gpt.config import GPTConfig
from gpt.dropout import Dropout, dropout_by_lanes
from gpt.kv_cache import KVCache
from gpt.lora import LoRALinear
from gpt.model import GPT, Transformer, padded_product, visible, within_segments

TINY = GPTConfig(vocab_size=61, context_length=16, emb_dim=32, n_heads=4, n_layers=3, dropout=0.0)


def tiny(seed: int = 1) -> GPT:
    return GPT(TINY, torch.Generator().manual_seed(seed)).eval()


def tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(TINY.vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def count(**changes: object) -> int:
    with torch.device("meta"):
        return GPT(GPTConfig(**changes)).n_parameters  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("width", "layers", "heads", "untied", "tied"),
    [
        (768, 12, 12, 163_009_536, 124_412_160),
        (1024, 24, 16, 406_212_608, 354_749_440),
        (1280, 36, 20, 838_220_800, 773_891_840),
        (1600, 48, 25, 1_637_792_000, 1_557_380_800),
    ],
)
def test_published_sizes(width: int, layers: int, heads: int, untied: int, tied: int) -> None:
    assert count(emb_dim=width, n_layers=layers, n_heads=heads) == untied
    assert count(emb_dim=width, n_layers=layers, n_heads=heads, tie_embeddings=True) == tied


def test_sizes_with_biases_and_with_a_shorter_context() -> None:
    assert count(qkv_bias=True) == 163_037_184
    assert count(qkv_bias=True, tie_embeddings=True) == 124_439_808
    assert count(context_length=256) == 162_419_712


def test_sizes_of_a_block() -> None:
    with torch.device("meta"):
        block = GPT(GPTConfig()).blocks[0]
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in block.named_children()}
    assert sizes["attention"] == 2_360_064
    assert sizes["feed_forward"] == 4_722_432
    assert sizes["norm1"] + sizes["norm2"] == 3_072


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"emb_dim": 30}, "n_heads"),
        ({"n_layers": 0}, "n_layers"),
        ({"vocab_size": 1.5}, "vocab_size"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_a_nonsensical_configuration_is_refused(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        GPTConfig(**({"n_heads": 4} | changes))  # type: ignore[arg-type]


def test_the_seed_decides_the_weights_and_global_state_does_not() -> None:
    torch.manual_seed(1)
    first = tiny(5).state_dict()
    torch.manual_seed(2)
    second, other = tiny(5).state_dict(), tiny(6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


@pytest.mark.parametrize("tied", [False, True])
def test_untrained_loss_is_that_of_a_guess(tied: bool) -> None:
    config = GPTConfig(vocab_size=4096, context_length=64, emb_dim=192, n_heads=3, n_layers=2, tie_embeddings=tied)
    model = GPT(config, torch.Generator().manual_seed(0)).eval()
    row = torch.randint(4096, (4, 65), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(model(row[:, :-1]).flatten(0, 1), row[:, 1:].flatten())
    assert float(loss) == pytest.approx(math.log(4096), rel=0.02)


def test_tied_head_is_the_embedding() -> None:
    model = GPT(GPTConfig(vocab_size=61, context_length=8, emb_dim=8, n_heads=2, n_layers=1, tie_embeddings=True))
    assert model.head.weight is model.embeddings.token.weight


@settings(max_examples=20, deadline=None)
@given(position=st.integers(0, 15))
def test_no_token_sees_the_future(position: int) -> None:
    model, text = tiny(), tokens(1, 16)
    changed = text.clone()
    changed[0, position] = (text[0, position] + 1) % TINY.vocab_size
    before, after = model(text), model(changed)
    assert torch.equal(before[0, :position], after[0, :position])
    assert not torch.equal(before[0, position:], after[0, position:])


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, 15), max_size=4, unique=True).map(sorted))
def test_a_cache_fed_in_any_pieces_changes_nothing(cuts: list[int]) -> None:
    model, text = tiny(), tokens(2, 16)
    cache = KVCache(TINY.n_layers, 16)
    pieces = [model(text[:, a:b], cache) for a, b in zip([0, *cuts], [*cuts, 16], strict=True)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(text))


def test_left_padding_changes_nothing() -> None:
    model, rows = tiny(), [tokens(5), tokens(9, seed=1), tokens(1, seed=2)]
    padding = torch.tensor([4, 0, 8])
    batch = torch.stack([torch.cat([tokens(int(n), seed=3), row]) for n, row in zip(padding, rows, strict=True)])
    together = model(batch, padding=padding)
    for row, n, logits in zip(rows, padding, together, strict=True):
        torch.testing.assert_close(logits[int(n) :], model(row[None])[0])


def test_read_gives_that_position_of_the_whole() -> None:
    model, text = tiny(), tokens(3, 12)
    read = torch.tensor([11, 0, 6])
    torch.testing.assert_close(model.hidden(text, read=read[:, None])[:, 0], model.hidden(text)[torch.arange(3), read])


def test_several_positions_are_read_where_texts_are_padded_or_packed() -> None:
    model, text, read = tiny(), tokens(2, 9), torch.tensor([[8, 3, 5], [7, 7, 4]])
    packed = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4, 5], [0, 0, 1, 2, 3, 4, 0, 1, 2]])
    for more in ({}, {"padding": torch.tensor([2, 0])}, {"positions": packed}):
        whole = model(text, **more)
        torch.testing.assert_close(model(text, read=read, **more), whole[torch.arange(2)[:, None], read])
    torch.testing.assert_close(model.hidden(model.stream(text), read=read), model.hidden(text, read=read))


@pytest.mark.parametrize("bias", [True, False])
def test_folding_keys_and_values_away_changes_neither_output_nor_gradient(
    monkeypatch: pytest.MonkeyPatch, bias: bool
) -> None:
    draws = torch.Generator().manual_seed(1)
    layer = Attention(replace(TINY, qkv_bias=bias, dropout=0.1), 0).double().eval()
    for parameter in layer.parameters():
        parameter.data.normal_(generator=draws)
    x = torch.randn(3, 11, 32, dtype=torch.float64, generator=draws)
    read = torch.tensor([[10, 3], [0, 7], [5, 5]])
    found = []
    for threshold in (0, 10**12):
        monkeypatch.setattr(attention, "WORTH_FOLDING", threshold)
        given = x.clone().requires_grad_()
        assert layer._folding_pays(given, read) == (threshold == 0)
        out = layer(given, visible(read, 11, None), None, read)
        parameters = list(layer.parameters())
        found.append((out, *torch.autograd.grad((out * out.detach().cos()).sum(), [given, *parameters])))
    for folded, plain in zip(*found, strict=True):
        torch.testing.assert_close(folded, plain)


def test_nothing_is_folded_where_that_would_mean_something_else_or_cost_more(monkeypatch: pytest.MonkeyPatch) -> None:
    x, few, many = torch.zeros(3, 11, 32), torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, 11, dtype=torch.int64)
    layer = Attention(replace(TINY, dropout=0.1), 0).eval()
    assert not layer._folding_pays(x, few)  # so small: its operators cost more than its numbers
    monkeypatch.setattr(attention, "WORTH_FOLDING", 1)
    assert layer._folding_pays(x, few) and not layer._folding_pays(x, many)
    assert not layer.train()._folding_pays(x, few)  # dropped weights don't add up to 1
    layer.eval().set_submodule("qkv", LoRALinear(layer.qkv, 2, 2.0, 0.0, 3, torch.Generator()))
    assert not layer._folding_pays(x, few)


def test_a_text_longer_than_the_context_is_refused() -> None:
    with pytest.raises(ValueError, match="context is 16"):
        tiny()(tokens(1, 17))


def test_written_out_attention_equals_the_fused_function() -> None:
    q, k, v = torch.randn(3, 2, 4, 12, 8, generator=torch.Generator().manual_seed(0))
    padding = torch.tensor([3, 0])
    mask = visible(torch.arange(12)[None], 12, padding)
    fused = torch.nn.functional.scaled_dot_product_attention
    torch.testing.assert_close(attend_written_out(q, k, v, None, Dropout(0.0)), fused(q, k, v, is_causal=True))
    torch.testing.assert_close(attend_written_out(q, k, v, mask, Dropout(0.0)), fused(q, k, v, attn_mask=mask))


@pytest.mark.parametrize("length", [1, 7, 128, 129, 300])
@pytest.mark.parametrize("packed", [True, False])
def test_attention_in_stretches_is_the_same_attention_with_the_same_gradient(length: int, packed: bool) -> None:
    draws = torch.Generator().manual_seed(0)
    rows = 1 if length == 1 else 2
    qkv = torch.randn(rows, length, 3 * 24, dtype=torch.float64, generator=draws).requires_grad_()
    weight = torch.randn(rows, length, 24, dtype=torch.float64, generator=draws)
    mask = within_segments(torch.arange(length).expand(rows, -1) % 37) if packed else None
    q, k, v = (part.unflatten(-1, (3, 8)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
    plain = attend_written_out(q, k, v, mask, Dropout(0.0)).transpose(1, 2).flatten(2)
    before = qkv.detach().clone()
    found = CausalAttention.apply(qkv, mask, 8)
    torch.testing.assert_close(found, plain)
    assert torch.equal(qkv, before)
    for one, other in zip(*(torch.autograd.grad(out, qkv, weight) for out in (found, plain)), strict=True):
        torch.testing.assert_close(one, other)


def test_a_training_in_bfloat16_goes_in_stretches_and_agrees_with_float32() -> None:
    model, text = tiny().train(), tokens(3, 16)
    plain = model(text)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(text)
        layer = model.blocks[0].attention
        assert isinstance(layer, Attention) and layer._in_stretches(layer.qkv(torch.zeros(1, 4, 32)))
    torch.testing.assert_close(rounded.float(), plain, atol=0.02, rtol=0.05)
    gradients = [torch.autograd.grad(out.float().square().sum(), list(model.parameters())) for out in (rounded, plain)]
    for one, other in zip(*gradients, strict=True):
        assert (one - other).norm() < 0.05 * other.norm() + 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gelu_by_a_sigmoid_is_gelu(dtype: torch.dtype) -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0)).mul(3).to(dtype)
    small = 1e-5 if dtype == torch.float32 else 1 / 64
    torch.testing.assert_close(
        gelu_by_sigmoid(x), torch.nn.functional.gelu(x, approximate="tanh"), rtol=small, atol=1e-5
    )


def test_gelu_within_the_product_is_gelu_after_it() -> None:
    layer, x = FeedForward(TINY), torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(0))
    for parameter in layer.parameters():
        parameter.data.normal_(std=0.2, generator=torch.Generator().manual_seed(1))
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        learning = layer(x)
        assert learning.requires_grad and not layer._fuses(x)
        with torch.no_grad():
            assert layer._fuses(x) == torch.ops.mkldnn._is_mkldnn_bf16_supported()
            evaluated = layer(x)
    with torch.no_grad():
        assert not layer._fuses(x)  # float32
    assert evaluated.dtype == torch.bfloat16
    for rounded in (learning, evaluated):
        assert (rounded.float() - exact).norm() < 0.01 * exact.norm()


def test_training_and_evaluating_take_different_ways_to_the_same_logits() -> None:
    """Dropout so rare that it drops nothing still takes the written-out way: its gradients exist, its logits agree."""
    config = GPTConfig(vocab_size=61, context_length=16, emb_dim=32, n_heads=4, n_layers=2, dropout=1e-9)
    model, text = GPT(config, torch.Generator().manual_seed(3)), tokens(2, 16)
    trained = model.train()(text)
    trained.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(text), trained.detach())


def test_dropout_drops_its_share_in_every_lane_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    out = dropout_by_lanes(torch.ones(40_000), 0.25)
    dropped = (out == 0).view(-1, 4).float().mean(dim=0)
    assert torch.all((dropped - 0.25).abs() < 0.02)
    torch.testing.assert_close(out[out != 0], torch.full_like(out[out != 0], 4 / 3))


def test_dropout_follows_the_seed_and_sleeps_while_evaluating() -> None:
    layer, x = Dropout(0.5), torch.ones(7, 3)
    torch.manual_seed(4)
    first, second = layer(x), layer(x)
    torch.manual_seed(4)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)
    assert torch.equal(layer.eval()(x), x)


def test_meta_model_takes_no_memory_and_any_generator() -> None:
    with torch.device("meta"):
        model = GPT(GPTConfig(), torch.Generator().manual_seed(1))
    assert all(p.is_meta for p in model.parameters())
    assert isinstance(model, Transformer)


def test_a_language_models_step_compiles_as_one_graph() -> None:
    """`fullgraph` raises on a graph break; the eager backend needs no C++ compiler."""
    model, text = tiny(), tokens(2, 16)
    compiled = torch.compile(model.train(), backend="eager", fullgraph=True, dynamic=False)
    torch.testing.assert_close(compiled(text), model(text))


@pytest.mark.parametrize("vocabulary", [1, 127, 128, 257])
def test_a_vocabulary_padded_inside_gives_the_same_scores_and_gradients(vocabulary: int) -> None:
    draws = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(*shape, generator=draws) for shape in ((2, 3, 8), (vocabulary, 8)))
    wanted = torch.randint(vocabulary, (6,), generator=draws)
    found = []
    for product in (padded_product, torch.nn.functional.linear):
        mine = [tensor.clone().requires_grad_() for tensor in (x, weight)]
        scores = product(*mine)
        assert scores.shape == (2, 3, vocabulary)
        torch.nn.functional.cross_entropy(scores.flatten(0, 1), wanted).backward()
        found.append([scores.detach(), *(tensor.grad for tensor in mine)])
    for one, other in zip(*found, strict=True):
        assert one is not None and other is not None
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_away_from_the_cpu_attention_is_the_fused_function_s(dropout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device, which is no CPU either: causal without a mask, so that a GPU takes its flash kernel."""
    seen: list[dict[str, object]] = []

    def fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **how: object) -> torch.Tensor:
        seen.append(how)
        return q

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", fused)
    with torch.device("meta"):
        layer = Attention(GPTConfig(17, 8, 16, 2, 1, dropout=dropout, qkv_bias=False, tie_embeddings=True), 0)
        layer.train()(torch.empty(2, 8, 16, dtype=torch.float32))
    assert seen == [{"attn_mask": None, "dropout_p": dropout, "is_causal": True}]
