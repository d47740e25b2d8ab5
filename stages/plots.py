"""The plots of the report, by matplotlib: same numbers, same bytes (no date, no version in the files)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

plt.rcdefaults()  # a person's own matplotlibrc must not change tracked bytes
plt.switch_backend("Agg")

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def canvas(width: float = 6.4, height: float = 4.0) -> tuple[Figure, Axes]:
    with plt.rc_context(STYLE):
        return plt.subplots(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def pretraining_curve(curve: pd.DataFrame, path: Path) -> None:
    """Training and validation loss over the steps, with the validation minimum marked."""
    figure, axes = canvas()
    for column, label in (("train_loss", "training part"), ("validation_loss", "validation part")):
        axes.plot(curve["step"], curve[column], marker="o", markersize=3, label=label)
    best = curve.loc[curve["validation_loss"].idxmin()]
    axes.annotate(
        f"lowest {best['validation_loss']:.3f}\nat step {best['step']:.0f}",
        (best["step"], best["validation_loss"]),
        xytext=(0, 18), textcoords="offset points", ha="center", arrowprops={"arrowstyle": "->"},
    )  # fmt: skip
    axes.set(xlabel="optimizer step", ylabel="loss (nats per token)", title="Pre-training")
    axes.legend()
    save(figure, path)


def finetuning_curves(curves: Mapping[str, Mapping[str, pd.DataFrame]], path: Path) -> None:
    """One panel a stage, one line a variant: validation loss over the steps."""
    with plt.rc_context(STYLE):
        figure, row = plt.subplots(
            1, len(curves), figsize=(4.2 * len(curves), 3.6), layout="constrained", squeeze=False
        )
    for axes, (stage, variants) in zip(row[0], curves.items(), strict=True):
        for variant, rows in variants.items():
            axes.plot(rows["step"], rows["validation_loss"], marker="o", markersize=3, label=variant)
        axes.set(xlabel="optimizer step", ylabel="validation loss (nats)", title=stage)
        axes.legend()
    save(figure, path)


def confusion_matrices(tables: Mapping[str, np.ndarray], labels: Sequence[str], path: Path) -> None:
    """Counts on the test part, rows actual, columns predicted."""
    with plt.rc_context(STYLE | {"axes.grid": False}):
        figure, row = plt.subplots(
            1, len(tables), figsize=(3.2 * len(tables), 3.4), layout="constrained", squeeze=False
        )
    for axes, (name, table) in zip(row[0], tables.items(), strict=True):
        axes.imshow(table, cmap="Blues", vmin=0)
        for (actual, predicted), count in np.ndenumerate(table):
            colour = "white" if count > table.max() / 2 else "black"
            axes.text(predicted, actual, str(count), ha="center", va="center", color=colour)
        axes.set(xticks=range(len(labels)), yticks=range(len(labels)), xlabel="predicted", ylabel="actual", title=name)
        axes.set_xticklabels(labels)
        axes.set_yticklabels(labels)
    save(figure, path)


def accuracy_bars(scores: pd.DataFrame, path: Path) -> None:
    """Test accuracy of every classifier with its 95 % interval; columns name, accuracy, low, high."""
    figure, axes = canvas(6.4, 0.5 * len(scores) + 1.4)
    below, above = scores["accuracy"] - scores["low"], scores["high"] - scores["accuracy"]
    axes.barh(scores["name"], scores["accuracy"], xerr=[below, above], capsize=3, color="#4c72b0")
    for position, accuracy in enumerate(scores["accuracy"]):
        axes.text(0.02, position, f"{accuracy:.1%}", va="center", color="white", fontweight="bold")
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="accuracy on the test part (95 % interval)", title="Classifying")
    save(figure, path)


def answers_by_kind(scores: pd.DataFrame, path: Path) -> None:
    """Token overlap with the reference per task type and variant; columns kind, variant, token_overlap, items."""
    table = scores.pivot(index="kind", columns="variant", values="token_overlap").iloc[::-1]
    figure, axes = canvas(7.0, 0.36 * len(table) * max(1, table.shape[1] / 2) + 1.6)
    height = 0.8 / table.shape[1]
    for offset, variant in enumerate(table.columns):
        axes.barh(np.arange(len(table)) + offset * height, table[variant], height=height, label=str(variant))
    axes.set_yticks(np.arange(len(table)) + 0.4 - height / 2, [str(kind) for kind in table.index])
    axes.set(xlim=(0, 1), xlabel="token overlap with the reference (F1)", title="Following instructions, test part")
    axes.legend()
    save(figure, path)
