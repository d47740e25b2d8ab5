"""The base's loss on its language: floors and their errors, and every held-out text's own loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gpt.config import GPTConfig
from gpt.hf_format import save_gpt2
from gpt.model import GPT
from gpt.tokens import TokenWriter
from gpt.windows import Windows
from stages import language

NATS = [3.0, 5.0, 4.0]
LENGTHS = [4, 6, 9]


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three documents of known surprisal in each of two parts, read whole by packed rows."""
    monkeypatch.chdir(tmp_path)
    with TokenWriter(tmp_path / "data/tokens", ("train", "validation"), 50, 49) as writer:
        for part in ("train", "validation"):
            for nats, length in zip(NATS, LENGTHS, strict=True):
                writer.add(part, "a.jsonl", np.arange(length), nats)
    folder = tmp_path / "data/samples/text"
    folder.mkdir(parents=True)
    for part in ("train", "validation"):
        np.save(folder / f"{part}.npy", np.array([[0, 0, 5], [0, 5, 7], [1, 12, 10]]))
    return folder


def test_the_floor_is_the_documents_surprisal_over_their_tokens_and_ends(text: Path) -> None:
    scores = language.floor_scores("validation", 0.75)
    assert scores["floor"] == pytest.approx(12 / 22)
    assert scores["over_floor"] == pytest.approx(0.75 / (12 / 22))
    assert scores["documents"] == 3
    assert scores["floor_error"] == pytest.approx(language.ratio_error(np.array(NATS), np.array([5, 7, 10])))


def test_no_ratio_where_a_model_knows_the_documents_or_sees_only_pieces(text: Path) -> None:
    assert "over_floor" not in language.floor_scores("train", 0.75)
    np.save(text / "validation.npy", np.array([0, 5, 10]))
    assert "over_floor" not in language.floor_scores("validation", 0.75)


@pytest.mark.parametrize(
    ("places", "documents"),
    [
        ([[0, 5, 7], [0, 0, 5], [1, 12, 6], [2, 18, 4]], [0, 1, 2, 2]),  # packed; the last document cut in two
        ([0, 4, 8], [0, 1, 2]),  # windows
    ],
)
def test_every_held_out_text_has_its_loss_and_they_add_up(
    places: list[Any], documents: list[int], text: Path, stage_of: Callable[..., Any]
) -> None:
    for part in ("train", "validation"):
        np.save(text / f"{part}.npy", np.array(places))
    save_gpt2(GPT(GPTConfig(50, 12, 16, 2, 2, 0.0)), Path("models/base"))
    metrics, losses = language.language_scores(stage_of("evaluate", {"runtime.threads": 1}))
    assert list(losses.columns) == ["variant", "part", "document", "tokens", "nats"]
    for variant in ("pretrained", "random"):
        rows = losses[losses["variant"] == variant]
        assert rows["document"].tolist() == documents
        assert set(rows["part"]) == {"validation"}
        assert rows["nats"].sum() / rows["tokens"].sum() == pytest.approx(metrics[variant]["validation"]["loss"])
        assert rows["tokens"].sum() == metrics[variant]["validation"]["tokens"] == (22 if len(documents) == 4 else 36)
    losses.to_csv("losses.csv", index=False)
    assert pd.read_csv("losses.csv")["nats"].tolist() == losses["nats"].tolist()


def test_a_text_of_unknown_origin_has_no_floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with TokenWriter(tmp_path / "data/tokens", ("validation",), 50, 49) as writer:
        writer.add("validation", "a.txt", np.arange(5))
    assert language.floor_scores("validation", 0.75) == {}


def test_the_error_of_a_ratio_is_what_repeated_draws_show() -> None:
    random = np.random.default_rng(0)
    sizes = random.integers(50, 300, (4_000, 200))
    values = sizes * random.normal(0.8, 0.1, sizes.shape)
    ratios = values.sum(axis=1) / sizes.sum(axis=1)
    guesses = [language.ratio_error(*pair) for pair in zip(values[:50], sizes[:50], strict=True)]
    assert np.mean(guesses) == pytest.approx(ratios.std(), rel=0.05)
    assert language.ratio_error(0.8 * sizes[0], sizes[0]) == pytest.approx(0, abs=1e-12)


def test_a_long_training_part_is_scored_on_rows_spread_over_it() -> None:
    rows = Windows(np.arange(1_000), np.arange(0, 900, 9), 8)
    some = language.spread(rows, 10)
    assert len(some) == 10
    inputs, _ = some.batch([0, 3, 9])
    assert inputs[:, 0].tolist() == [0, 270, 810]
    assert language.spread(rows, 100) is rows
