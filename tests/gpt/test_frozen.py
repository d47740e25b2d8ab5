"""What frozen layers make of the rows: kept where it stays as it is, with the same training either way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from gpt import frozen
from gpt.collate import Row, TokenRows
from gpt.config import GPTConfig
from gpt.evaluate import PaddedRows, row_probabilities
from gpt.frozen import FrozenRows, padded_rows
from gpt.heads import Classifier, select_trainable
from gpt.lora import add_lora
from gpt.loss import label_loss
from gpt.order import ByLength, MixedOrder
from gpt.runtime import Runtime
from gpt.train import TrainResult, TrainSettings, train, weights_of

CPU = Runtime("cpu", "float32", False, 1, "test")
CONFIG = GPTConfig(vocab_size=61, context_length=16, emb_dim=32, n_heads=4, n_layers=3, dropout=0.0)
PLAN = TrainSettings(9, "adamw", 0.01, 0.001, 2, 0.1, 0.9, 0.95, 1.0, 1, 4, 3)
RANDOM = np.random.default_rng(0)
ROWS: list[Row] = [RANDOM.integers(0, 61, size).tolist() for size in RANDOM.integers(1, 17, 30)]
CLASSES = torch.from_numpy(RANDOM.integers(0, 2, 30))


def classifier(part: str = "last_block", config: GPTConfig = CONFIG) -> Classifier:
    model = Classifier(config, ("ham", "spam"), torch.Generator().manual_seed(1))
    select_trainable(model, part)  # type: ignore[arg-type]
    return model


def fit(model: Classifier, rows: PaddedRows, checkpoints: Path | None = None, stop_after: int = 99) -> TrainResult:
    order = ByLength(MixedOrder(1, (len(ROWS),)), tuple(map(len, ROWS)))
    left = [stop_after]

    def batch(step: int, micro: int) -> tuple[Tensor, ...]:
        chosen = order.batch(step, 8)
        return *rows.batch(chosen), CLASSES[chosen]

    def evaluate(module: torch.nn.Module) -> dict[str, float]:
        probabilities = row_probabilities(module, rows, 8, CPU)
        return {"validation_loss": float(-np.log(probabilities[np.arange(30), CLASSES]).mean())}

    def stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    return train(model, loss=label_loss, batch=batch, settings=PLAN, runtime=CPU, seed=3, evaluate=evaluate,
                 checkpoints=checkpoints, should_stop=stop)  # fmt: skip


@pytest.mark.parametrize("part", ["last_block", "head"])
def test_training_on_kept_numbers_is_the_same_training(part: str) -> None:
    plain, quick = classifier(part), classifier(part)
    kept = padded_rows(quick, ROWS, 0, 8, CPU)
    assert isinstance(kept, FrozenRows)
    assert kept.stream.shape == (sum(map(len, ROWS)), 32)
    first, second = fit(plain, TokenRows(ROWS, 0)), fit(quick, kept)
    for name in ("loss", "gradient_norm"):
        found, expected = ([row[name] for row in result.history[1:]] for result in (second, first))
        assert found == pytest.approx(expected, rel=1e-5)
    for name, weight in weights_of(plain).items():
        torch.testing.assert_close(weights_of(quick)[name], weight, rtol=1e-4, atol=1e-5, msg=name)
    assert first.history[-1]["validation_loss"] == pytest.approx(second.history[-1]["validation_loss"], rel=1e-5)


def test_a_resumed_training_on_kept_numbers_ends_in_the_same_bytes(tmp_path: Path) -> None:
    whole = classifier()
    fit(whole, padded_rows(whole, ROWS, 0, 8, CPU))
    with pytest.raises(KeyboardInterrupt):
        cut = classifier()
        fit(cut, padded_rows(cut, ROWS, 0, 8, CPU), tmp_path, stop_after=4)
    resumed = classifier()
    result = fit(resumed, padded_rows(resumed, ROWS, 0, 8, CPU), tmp_path)
    assert result.resumed_from == 5
    assert save(weights_of(resumed)) == save(weights_of(whole))


def test_kept_rows_stand_as_wide_as_asked_and_mean_the_same() -> None:
    model = classifier().eval()
    kept, plain, chosen = FrozenRows(model, ROWS, 8, CPU), TokenRows(ROWS, 0), np.array([4, 0, 17])
    with torch.no_grad():
        expected = model(*plain.batch(chosen))
        for width in (None, 16):
            stream, lengths = kept.batch(chosen, width)
            assert stream.shape == (3, width or max(len(ROWS[row]) for row in chosen), 32)
            torch.testing.assert_close(model(stream, lengths), expected)
    np.testing.assert_allclose(row_probabilities(model, kept, 8, CPU), row_probabilities(model, plain, 7, CPU), 1e-5)


def test_nothing_is_kept_that_changes_or_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    adapted = classifier()
    add_lora(adapted, 2, 2.0, 0.0, torch.Generator())
    dropping = classifier(config=replace(CONFIG, dropout=0.1))
    for model in (classifier("all"), adapted, dropping):
        assert isinstance(padded_rows(model, ROWS, 0, 8, CPU), TokenRows)
    needed = 4 * 32 * sum(map(len, ROWS))
    monkeypatch.setattr(frozen, "LARGEST", needed)
    assert isinstance(padded_rows(classifier(), ROWS, 0, 8, CPU), FrozenRows)
    monkeypatch.setattr(frozen, "LARGEST", needed - 1)
    assert isinstance(padded_rows(classifier(), ROWS, 0, 8, CPU), TokenRows)
