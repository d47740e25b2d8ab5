"""Losses over windows and a classifier's probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt.collate import instruction_batch
from gpt.evaluate import classifier_probabilities, mean_loss, text_losses, window_loss
from gpt.loss import next_token_loss
from gpt.runtime import Runtime
from gpt.windows import Windows, window_starts

CPU = Runtime("cpu", "float32", False, 1, "test")


class Bigram(nn.Module):
    """Scores for the next token from the last one alone, behind dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(13, 13)
        nn.init.normal_(self.table.weight, generator=torch.Generator().manual_seed(1))

    def forward(self, tokens: Tensor) -> Tensor:
        return F.dropout(self.table(tokens), 0.5, self.training)


class LastToken(nn.Module):
    """A classifier that reads the last real token."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(13, 3)
        nn.init.normal_(self.table.weight, generator=torch.Generator().manual_seed(2))
        self.shapes: set[tuple[int, ...]] = set()

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        self.shapes.add(tuple(tokens.shape))
        return self.table(tokens[torch.arange(len(tokens)), lengths - 1])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 64])
def test_window_loss_is_the_mean_over_all_tokens(batch_size: int) -> None:
    tokens = np.random.default_rng(0).integers(0, 13, 43).astype(np.uint16)
    windows = Windows(tokens, window_starts(43, 6, 6), 6)
    model = Bigram().train()
    loss, counted = window_loss(model, windows, batch_size, CPU)
    ids = torch.from_numpy(tokens.astype(np.int64))
    assert counted == 42
    assert loss == pytest.approx(F.cross_entropy(model.table(ids[:-1]), ids[1:]).item(), rel=1e-6)
    assert model.training


def test_evaluation_draws_no_random_number() -> None:
    windows, model = Windows(np.arange(13), window_starts(13, 4, 4), 4), Bigram().train()
    before = torch.get_rng_state()
    window_loss(model, windows, 2, CPU)
    assert torch.equal(before, torch.get_rng_state())


def test_a_limit_on_batches() -> None:
    windows = Windows(np.arange(13), window_starts(13, 4, 4), 4)
    assert window_loss(Bigram(), windows, 2, CPU, max_batches=1)[1] == 8


def test_masked_rows_weigh_by_their_tokens() -> None:
    model = Bigram()
    rows = [([1, 2, 3], [4]), ([5], [6, 7, 8, 9])]
    together = mean_loss(model, next_token_loss, [instruction_batch(rows, 0, mask_prompt=True)], CPU)
    apart = mean_loss(model, next_token_loss, [instruction_batch([row], 0, mask_prompt=True) for row in rows], CPU)
    assert together[1] == apart[1] == 7
    assert together[0] == pytest.approx(apart[0], rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_losses_of_windows_add_up_to_the_mean(batch_size: int) -> None:
    tokens = np.random.default_rng(0).integers(0, 13, 43)
    windows, model = Windows(tokens, window_starts(43, 6, 6), 6), Bigram()
    nats, counts = text_losses(model, windows, batch_size, CPU)
    assert counts.tolist() == [6] * 7
    assert nats.sum() / counts.sum() == pytest.approx(window_loss(model, windows, batch_size, CPU)[0], rel=1e-6)
    ids = torch.from_numpy(tokens)
    alone = F.cross_entropy(model.table(ids[6:12]), ids[7:13], reduction="sum").item()
    assert nats[1] == pytest.approx(alone, rel=1e-6)
    assert text_losses(model, Windows(tokens, [], 6), 2, CPU)[0].shape == (0,)


def test_nothing_to_evaluate_is_an_error() -> None:
    with pytest.raises(ValueError, match="no token to evaluate on"):
        window_loss(Bigram(), Windows(np.arange(3), [], 4), 2, CPU)
    with pytest.raises(ValueError, match="no row"):
        classifier_probabilities(LastToken(), [], 0, 2, CPU)


def test_probabilities_do_not_depend_on_padding_or_batching() -> None:
    model = LastToken()
    rows = [[1, 2, 3], [4], [5, 6], [7, 8, 9, 10, 11], [12]]
    expected = model.table(torch.tensor([3, 4, 6, 11, 12])).softmax(-1).detach().numpy()
    for batch_size in (1, 2, 64):
        found = classifier_probabilities(model, rows, 0, batch_size, CPU)
        assert found.shape == (5, 3)
        assert np.allclose(found, expected, atol=1e-7)
    model.shapes.clear()
    classifier_probabilities(model, rows, 0, 2, CPU)
    assert model.shapes == {(2, 1), (2, 3), (2, 5)}  # neighbours in length


def test_an_untrained_model_is_near_the_logarithm_of_its_vocabulary() -> None:
    model = Bigram()
    nn.init.zeros_(model.table.weight)
    assert window_loss(model, Windows(np.arange(13), [0], 4), 1, CPU)[0] == pytest.approx(math.log(13), rel=1e-6)
