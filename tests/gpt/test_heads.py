"""The classifier: it reads the last real token, and trains just what it is told to."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.config import GPTConfig
from gpt.heads import Classifier, n_trainable, select_trainable
from gpt.model import GPT

CONFIG = GPTConfig(vocab_size=61, context_length=16, emb_dim=32, n_heads=4, n_layers=2, dropout=0.0)


def classifier(labels: tuple[str, ...] = ("ham", "spam")) -> Classifier:
    return Classifier(CONFIG, labels, torch.Generator().manual_seed(1)).eval()


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 16), min_size=1, max_size=4), pad=st.integers(0, 60))
def test_padding_changes_nothing(lengths: list[int], pad: int) -> None:
    model, generator = classifier(("a", "b", "c")), torch.Generator().manual_seed(0)
    rows = [torch.randint(61, (length,), generator=generator) for length in lengths]
    batch = torch.stack([torch.cat([row, torch.full((16 - len(row),), pad)]) for row in rows])
    together = model(batch, torch.tensor(lengths))
    alone = torch.cat([model(row[None], torch.tensor([len(row)])) for row in rows])
    assert together.shape == (len(rows), 3)
    torch.testing.assert_close(together, alone)


def test_it_reads_what_the_whole_computation_says() -> None:
    model, text = classifier(), torch.arange(20).view(2, 10)
    whole = model.head(model.hidden(text))
    torch.testing.assert_close(model(text, torch.tensor([10, 4])), whole[[0, 1], [9, 3]])


def test_published_trainable_counts() -> None:
    with torch.device("meta"):
        assert select_trainable(Classifier(GPTConfig(qkv_bias=True), ["ham", "spam"]), "last_block") == 7_090_946
        plain = Classifier(GPTConfig(), ["ham", "spam"])
    assert select_trainable(plain, "last_block") == 7_088_642
    assert select_trainable(plain, "head") == 768 * 2 + 2
    assert select_trainable(plain, "all") == n_trainable(plain) == plain.n_parameters


@pytest.mark.parametrize("part", ["head", "last_block", "all"])
def test_the_head_always_learns_and_the_rest_as_chosen(part: str) -> None:
    model = classifier()
    model.requires_grad_(False)
    select_trainable(model, part)  # type: ignore[arg-type]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    model(torch.arange(30).view(3, 10), torch.tensor([10, 9, 8])).square().sum().backward()
    optimizer.step()
    names = [name.split(".") for name, p in model.named_parameters() if not torch.equal(p, before[name])]
    changed = {name[0] for name in names}
    blocks = {int(name[1]) for name in names if name[0] == "blocks"}
    assert "head" in changed
    assert blocks == {"head": set(), "last_block": {1}, "all": {0, 1}}[part]
    assert ("embeddings" in changed) == (part == "all")


def test_a_head_on_a_language_model_leaves_that_as_it_is() -> None:
    gpt = GPT(CONFIG, torch.Generator().manual_seed(2))
    model = Classifier.from_gpt(gpt, ["no", "yes"], torch.Generator().manual_seed(3))
    text = torch.arange(10).view(1, 10)
    torch.testing.assert_close(model.hidden(text), gpt.hidden(text), rtol=0, atol=0)
    with torch.no_grad():
        model.final_norm.weight.zero_()
    assert gpt.final_norm.weight.all()
    again = Classifier.from_gpt(gpt, ["no", "yes"], torch.Generator().manual_seed(3))
    assert torch.equal(model.head.weight, again.head.weight)
    assert not any(p.is_meta for p in again.parameters())


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="last_block"):
        select_trainable(classifier(), "tail")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least two"):
        classifier(("ham",))
    with pytest.raises(ValueError, match="each once"):
        classifier(("ham", "ham"))
