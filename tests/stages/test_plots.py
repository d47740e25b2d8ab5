"""The plots: every one the report shows, the same bytes every time, for whatever variants and parts there are."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stages import plots
from stages.evaluate import draw, write_tables
from stages.report import write_report
from tests.stages.conftest import LABELS, findings

CURVES = {"pretrain": ["base"], "classify": ["pretrained", "random", "full"], "lora": ["lora"], "instruct": ["random"]}


@pytest.fixture
def curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three evaluations of each training, as the stages leave them."""
    monkeypatch.chdir(tmp_path)
    rows = pd.DataFrame({"step": [0, 10, 20], "train_loss": [8.0, 2.0, 1.0], "validation_loss": [8.0, 2.5, 2.7]})
    for stage, variants in CURVES.items():
        folder = tmp_path / "reports" / stage / "curves"
        folder.mkdir(parents=True)
        for variant in variants:
            rows.to_csv(folder / f"{variant}.csv", index=False)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"floor": False, "parts": ("validation", "test")},
        {"classifiers": {"lora": 9, "random": 5, "bag_of_words": 9}, "assistants": {"random": 0}},
    ],
)
def test_every_plot_of_the_report_is_drawn_and_is_the_same_bytes(
    tmp_path: Path, curves: None, options: dict[str, Any]
) -> None:
    found = findings(**options)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        draw(tmp_path / name, found, LABELS)
    drawn = sorted(tmp_path.glob("one/*"))
    assert [path.name for path in drawn] == sorted(re.findall(r"\(plots/(.*?)\)", write_report(found, 2)))
    for path in drawn:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_the_floor_is_drawn(tmp_path: Path, curves: None) -> None:
    curve = pd.read_csv("reports/pretrain/curves/base.csv")
    for name, floor in (("none", None), ("one", 0.9)):
        plots.pretraining_curve(curve, floor, tmp_path / f"{name}.png")
    assert (tmp_path / "none.png").read_bytes() != (tmp_path / "one.png").read_bytes()


def test_loss_axes_have_plain_ticks() -> None:
    figure, (axes,) = plots.panels(1, 1, 2.0, 2.0)
    plots.log_losses(axes, [7.8, 0.83])
    assert [label for label in axes.get_yticks() if label >= 0.77] == [1.0, 2.0, 4.0, 7.0]
    plots.log_losses(axes, [11.0, 5.8])
    assert list(axes.get_yticks()) == pytest.approx([6.0, 7.0, 8.0, 9.0, 10.0])
    plots.plt.close(figure)


def test_dvc_gets_a_table_a_variant_and_part(stage_of: Callable[..., Any]) -> None:
    stage = stage_of("evaluate", {})
    write_tables(stage, findings())
    names = sorted(path.name for path in stage.out("reports/evaluate/kinds").iterdir())
    assert names == [f"{v}-{p}.csv" for v in ("pretrained", "random") for p in ("combinations", "test")]
    rows = pd.read_csv(stage.out("reports/evaluate/kinds/pretrained-test.csv"))
    assert list(rows["kind"]) == ["all", "opposite", "plural"]
    assert len(pd.read_csv(stage.out("reports/evaluate/confusion.csv"))) == 50
