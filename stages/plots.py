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
from matplotlib.ticker import FixedLocator, NullFormatter, PercentFormatter, StrMethodFormatter

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#718096",
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e2e8f0",
    "legend.frameon": False,
}
plt.rcdefaults()  # a person's own matplotlibrc must not change tracked bytes
plt.rcParams.update(STYLE)
plt.switch_backend("Agg")

INK, PALE, WARNING = "#2d3748", "#90cdf4", "#c53030"
DIAMOND: dict[str, Any] = {"marker": "D", "s": 20, "color": "white", "edgecolors": INK, "zorder": 3, "clip_on": False}
SCORES = {"exact_match": "exact match", "token_overlap": "token overlap (F1)"}

# Each variant has one name and one colour in every plot.
NAMES = {
    "bag_of_words": "bag of words",
    "random": "random weights",
    "pretrained": "pre-trained base",
    "lora": "LoRA",
    "full": "all weights",
}
COLOURS = {
    "bag_of_words": "#d69e2e",
    "random": "#718096",
    "pretrained": "#2b6cb0",
    "lora": "#805ad5",
    "full": "#2f855a",
}


def panels(rows: int, columns: int, width: float, height: float, **more: Any) -> tuple[Figure, np.ndarray]:
    """A figure of width × height inches in all; the axes come as one list."""
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **more)
    return figure, axes.ravel()


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def log_losses(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic loss axis that fits the values and has plain numbers: late gains show beside early ones."""
    low, high = min(values) / 1.08, max(values) * 1.08
    steps = (1.0, 2.0, 4.0, 7.0) if high / low > 6 else (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
    axes.set(yscale="log", ylim=(low, high))
    ticks = [step * 10.0**power for power in range(-3, 3) for step in steps]
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_locator(FixedLocator([]))


def pretraining_curve(curve: pd.DataFrame, floor: float | None, path: Path) -> None:
    """Training and validation loss over the steps, and the validation part's entropy floor where it is known."""
    figure, (axes,) = panels(1, 1, 7.2, 4.2)
    for column, label, colour in (
        ("train_loss", "training part", PALE),
        ("validation_loss", "validation part", COLOURS["pretrained"]),
    ):
        axes.plot(curve["step"], curve[column], marker="o", markersize=3.5, color=colour, label=label)
    losses = [*curve["train_loss"], *curve["validation_loss"]]
    if floor is not None:
        axes.axhline(floor, color=WARNING, linestyle="--", label=f"entropy floor of the validation part: {floor:.3f}")
        losses.append(floor)
    log_losses(axes, losses)
    best = curve.loc[curve["validation_loss"].idxmin()]
    axes.annotate(
        f"lowest: {best['validation_loss']:.3f}\nat step {best['step']:,.0f}",
        (best["step"], best["validation_loss"]),
        xytext=(0, 34), textcoords="offset points", color=INK,
        ha="right" if best["step"] > curve["step"].max() / 2 else "left",
        arrowprops={"arrowstyle": "->", "color": INK},
    )  # fmt: skip
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set(xlabel="optimizer step", ylabel="loss, nats per token (log scale)", title="Pre-training")
    axes.legend()
    save(figure, path)


def finetuning_curves(curves: Mapping[str, Mapping[str, pd.DataFrame]], path: Path) -> None:
    """One panel a task, one line a variant: validation loss over the steps."""
    figure, row = panels(1, len(curves), 5.2 * len(curves), 3.8)
    for axes, (task, variants) in zip(row, curves.items(), strict=True):
        for variant, rows in variants.items():
            style = {"color": COLOURS.get(variant), "label": NAMES.get(variant, variant)}
            axes.plot(rows["step"], rows["validation_loss"], marker="o", markersize=3.5, **style)
        log_losses(axes, [loss for rows in variants.values() for loss in rows["validation_loss"]])
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.set(xlabel="optimizer step", ylabel="validation loss, nats (log scale)", title=task)
        axes.legend()
    save(figure, path)


def confusion_matrices(tables: Mapping[str, np.ndarray], labels: Sequence[str], path: Path) -> None:
    """Counts on the test part, rows actual, columns predicted; the shade is the share of the row."""
    columns = min(len(tables), 3)
    rows = -(-len(tables) // columns)
    side = max(2.6, 0.55 * len(labels) + 1.2)
    figure, cells = panels(rows, columns, (side + 0.4) * columns, (side + 0.3) * rows)
    for axes in cells[len(tables) :]:
        axes.set_axis_off()
    for axes, (name, table) in zip(cells, tables.items(), strict=False):
        shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (actual, predicted), count in np.ndenumerate(table):
            colour = "white" if shares[actual, predicted] > 0.5 else INK
            axes.text(predicted, actual, f"{count:,}", ha="center", va="center", color=colour)
        ticks = range(len(labels))
        axes.set_xticks(ticks, labels, rotation=0 if len(labels) < 4 else 90)
        axes.set_yticks(ticks, labels)
        axes.set(xlabel="predicted", ylabel="actual")
        axes.set_title(NAMES.get(name, name), fontsize=10)
        axes.grid(False)
    save(figure, path)


def accuracy_bars(scores: pd.DataFrame, path: Path) -> None:
    """Test accuracy of every classifier with its 95 % interval; columns variant, accuracy, low, high."""
    figure, (axes,) = panels(1, 1, 7.2, 0.5 * len(scores) + 1.4)
    places = np.arange(len(scores))
    whiskers = [scores["accuracy"] - scores["low"], scores["high"] - scores["accuracy"]]
    colours = [COLOURS.get(variant, INK) for variant in scores["variant"]]
    axes.barh(places, scores["accuracy"], height=0.62, color=colours, alpha=0.85)
    axes.errorbar(scores["accuracy"], places, xerr=whiskers, fmt="none", ecolor=INK, capsize=3)
    for place, accuracy, high in zip(places, scores["accuracy"], scores["high"], strict=True):
        axes.text(high + 0.012, place, f"{100 * accuracy:.1f} %", va="center", color=INK)
    axes.set_yticks(places, [NAMES.get(variant, variant) for variant in scores["variant"]])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    percent_axis(axes, 0.0, 1.0)
    axes.set(xlabel="accuracy on the test part, with its 95 % interval", title="Classifying messages")
    save(figure, path)


def percent_axis(axes: Axes, low: float, high: float) -> None:
    """Shares from `low` to `high` along x, with room for what is written at the right."""
    axes.set_xlim(low, high + 0.1 * (high - low))
    axes.set_xticks(np.linspace(low, high, 6))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))


def quality_by_share(scores: pd.DataFrame, path: Path) -> None:
    """Test accuracy over the share of trained parameters; columns variant, share (NaN: none), accuracy, low, high."""
    figure, (axes,) = panels(1, 1, 7.2, 4.0)
    tuned = scores[scores["share"].notna() & (scores["variant"] != "random")]
    for row in tuned.itertuples():
        whiskers = [[row.accuracy - row.low], [row.high - row.accuracy]]
        colour = COLOURS.get(row.variant, INK)
        axes.errorbar(row.share, row.accuracy, yerr=whiskers, fmt="o", markersize=8, color=colour, capsize=4)
        axes.annotate(
            f"{NAMES.get(row.variant, row.variant)}\n{100 * row.share:.3g} % trained: {100 * row.accuracy:.1f} %",
            (row.share, row.accuracy), xytext=(9, -4), textcoords="offset points", va="top", color=colour,
        )  # fmt: skip
    for row in scores[~scores.index.isin(tuned.index)].itertuples():
        label = f"{NAMES.get(row.variant, row.variant)}: {100 * row.accuracy:.1f} %"
        axes.axhline(row.accuracy, color=COLOURS.get(row.variant, INK), linestyle="--", label=label)
    axes.set(xscale="log", xlim=(tuned["share"].min() / 2, 5.0))
    axes.xaxis.set_major_locator(
        FixedLocator([1.0] + [step * 10.0**power for power in range(-7, 0) for step in (1, 3)])
    )
    axes.xaxis.set_minor_locator(FixedLocator([]))
    axes.margins(y=0.15)
    axes.set_ylim(top=min(axes.get_ylim()[1], 1.01))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
    axes.set(
        xlabel="share of the parameters that is trained (log scale)",
        ylabel="accuracy on the test part",
        title="LoRA beside full tuning",
    )
    figure.legend(loc="outside lower center", ncols=2)
    save(figure, path)


def scores_by_kind(kinds: pd.DataFrame, variant: str, baseline: str | None, path: Path) -> None:
    """Exact match and token overlap per task type: a bar a part for `variant`, a mark for `baseline`.

    Columns part, kind, variant, exact_match, token_overlap; the kind "all" comes first, then the best to the worst.
    """
    parts = list(kinds["part"].unique())
    own = kinds[(kinds["variant"] == variant) & (kinds["part"] == parts[0])].set_index("kind")
    ranked = own.drop(index="all").sort_values(["exact_match", "token_overlap"], ascending=False, kind="stable").index
    order = ["all", *ranked, *sorted(set(kinds["kind"]) - set(own.index))]
    figure, row = panels(1, 2, 9.6, (0.16 + 0.15 * len(parts)) * len(order) + 1.2, sharey=True)
    height, places = 0.76 / len(parts), np.arange(len(order))
    for axes, (score, label) in zip(row, SCORES.items(), strict=True):
        for number, part in enumerate(parts):
            at = places + (number - (len(parts) - 1) / 2) * height
            table = kinds[kinds["part"] == part].pivot(index="kind", columns="variant", values=score).reindex(order)
            colour = (COLOURS["pretrained"], PALE)[number % 2]
            name = f"{NAMES.get(variant, variant)}, {part}"
            axes.barh(at, table[variant], height=0.92 * height, color=colour, label=name)
            if baseline:
                axes.scatter(table[baseline], at, label=None if number else NAMES[baseline], **DIAMOND)
        percent_axis(axes, 0.0, 1.0)
        axes.set_xlim(0.0, 1.0)
        axes.grid(axis="y", visible=False)
        axes.set(xlabel=label)
    row[0].set_yticks(places, ["all kinds" if kind == "all" else kind for kind in order])
    row[0].set_ylim(len(order) - 0.5, -0.5)
    entries = sorted(
        zip(*row[0].get_legend_handles_labels(), strict=True), key=lambda entry: entry[1] == NAMES["random"]
    )
    figure.legend(*zip(*entries, strict=True), loc="outside upper center", ncols=len(entries))
    save(figure, path)
