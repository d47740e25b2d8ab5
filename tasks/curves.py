"""The loss curves of several results on one plot, a colour a result, a panel a task; by matplotlib, no window."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, StrMethodFormatter

from tasks.results import Result

COLOURS = ("#2b6cb0", "#dd6b20", "#2f855a", "#805ad5", "#d53f8c", "#718096")
PANELS = {"Pre-training": ("pretrain",), "Classifying messages": ("classify", "lora"), "Instructions": ("instruct",)}
DASHES = ("-", (0, (4, 2)), (0, (1.5, 1.5)), (0, (5, 2, 1, 2)))
INK, GRID = "#2d3748", "#e2e8f0"
TICKS = tuple(step * 10.0**power for power in range(-5, 3) for step in (1.0, 2.0, 5.0))
FLOOR = 1e-4  # nats; a loss below it says no more than that


def curves_of(result: Result) -> dict[tuple[str, str], pd.DataFrame]:
    """(stage, variant) → its evaluations: columns step, validation_loss, …"""
    found = {}
    for stage in (stage for stages in PANELS.values() for stage in stages):
        for name in result.names(f"reports/{stage}/curves"):
            data = result.read(f"reports/{stage}/curves/{name}")
            if name.endswith(".csv") and data:
                found[stage, name.removesuffix(".csv")] = pd.read_csv(io.BytesIO(data))
    return found


def draw(results: Sequence[Result]) -> bytes | None:
    """A PNG with the validation loss over the steps; None when there are no curves."""
    curves = [curves_of(result) for result in results]
    panels = {
        title: stages for title, stages in PANELS.items() if any(key[0] in stages for own in curves for key in own)
    }
    if not panels:
        return None
    figure = Figure(figsize=(4.7 * len(panels), 4.3), layout="constrained")
    for axes, (title, stages) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        variants = list(dict.fromkeys(key for own in curves for key in own if key[0] in stages))
        losses: list[float] = []
        for number, own in enumerate(curves):
            for key, table in own.items():
                if key[0] in stages and "validation_loss" in table:
                    values = table["validation_loss"].clip(lower=FLOOR)
                    axes.plot(
                        table["step"], values, color=COLOURS[number % len(COLOURS)], alpha=0.9,
                        linestyle=DASHES[variants.index(key) % len(DASHES)],
                        linewidth=3.2 - 1.6 * number / max(1, len(curves) - 1),  # of equal ones both show
                    )  # fmt: skip
                    losses += list(values)
        _axes(axes, title, losses)
        for place, key in enumerate(variants if len(variants) > 1 else ()):
            axes.plot([], [], color=INK, linestyle=DASHES[place % len(DASHES)], label=key[1].replace("_", " "))
        if len(variants) > 1:
            axes.legend(frameon=False, fontsize=8, loc="best")
    handles = [
        figure.axes[0].plot(
            [], [], color=COLOURS[n % len(COLOURS)], linewidth=2.5, label=f"{letter(n)}  {result.name}"
        )[0]
        for n, result in enumerate(results)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)), frameon=False)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=130, metadata={"Software": None})
    return out.getvalue()


def letter(number: int) -> str:
    """A for the first result, and so on."""
    return chr(ord("A") + number) if number < 26 else str(number + 1)


def _axes(axes: Any, title: str, losses: Sequence[float]) -> None:
    low, high = min(losses, default=1.0) / 1.1, max(losses, default=1.0) * 1.1
    axes.set(yscale="log", ylim=(low, high), xlabel="optimizer step", ylabel="validation loss (log scale)")
    axes.set_title(title, loc="left", fontweight="bold", color=INK, fontsize=11)
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in TICKS if low <= tick <= high]))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_locator(FixedLocator([]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#718096")
