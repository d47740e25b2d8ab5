"""A comparison as a page: HTML that needs nothing but itself, and the same as Markdown.

The templates are tasks/comparison.html.j2 and tasks/comparison.md.j2; this module words what they show. Everything from
a model, a file or a person is escaped: answers may hold anything.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from pipeline import paths
from pipeline.files import remove_tree, write_atomic
from tasks import curves
from tasks.comparison import ABSENT, Comparison, Line
from tasks.live_answers import LiveAnswer
from tasks.noise import BETTER, NOISE, WORSE
from tasks.paired import Verdict

VARIANTS = {
    "pretrained": "pre-trained base",
    "random": "random weights",
    "full": "all weights tuned",
    "lora": "LoRA",
    "bag_of_words": "bag of words",
}
TASKS = {"classify": "messages", "instruct": "instructions", "language": "language"}
SHOWN, AGREEING = 12, 3  # questions, of each model
FILES = 40


def write_page(comparison: Comparison, live: Sequence[LiveAnswer] = (), name: str | None = None) -> Path:
    """Write .scriptorium/comparisons/NAME/ (comparison.html, comparison.md, curves.png) and return the folder."""
    folder = paths.home() / "comparisons" / (name or folder_name(comparison.names))
    folder.mkdir(parents=True, exist_ok=True)
    picture = curves.draw(comparison.results)
    write_atomic(folder / "comparison.html", render(comparison, "html", live, picture))
    write_atomic(folder / "comparison.md", render(comparison, "md", live, picture))
    remove_tree(folder / "curves.png")
    if picture is not None:
        write_atomic(folder / "curves.png", picture)
    return folder


def folder_name(names: Sequence[str]) -> str:
    """A folder's name that says what is compared: "rank-4_workspace"."""
    return "_".join(re.sub(r"[^\w.-]+", "-", name).strip("-.") or "x" for name in names)[:120]


def render(comparison: Comparison, form: str, live: Sequence[LiveAnswer] = (), picture: bytes | None = None) -> str:
    """The page as "html" or "md"."""
    templates = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=templates,
        autoescape=select_autoescape(["html.j2"]),  # Markdown has an escape of its own: `cell`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "shown": shown, "score": score, "gain": gain, "label": label, "cell": cell, "short": short, "change": change,
        "scale": scale, "letter": curves.letter,
    }  # fmt: skip
    environment.globals |= {"letter": curves.letter, "colours": curves.COLOURS, "variants": VARIANTS, "tasks": TASKS}
    return environment.get_template(f"comparison.{form}.j2").render(
        c=comparison,
        live=live,
        outcomes=[outcome(comparison, other) for other in range(1, len(comparison.results))],
        differing={stage: [line for line in lines if line.differs] for stage, lines in comparison.metrics.items()},
        picture=f"data:image/png;base64,{base64.b64encode(picture).decode()}" if picture else "",
        n_shown=SHOWN,
        n_files=FILES,
        n_agreeing=AGREEING,
    )


def outcome(comparison: Comparison, other: int) -> dict[str, list[str]]:
    """Verdict → the models on the validation part that it was given to, in words."""
    found: dict[str, list[str]] = {BETTER: [], WORSE: [], NOISE: [], "the same": []}
    for verdict in comparison.verdicts:
        if verdict.decides and verdict.other == other and verdict.difference is not None:
            found[label(verdict)].append(f"{TASKS[verdict.task]}, {VARIANTS.get(verdict.variant, verdict.variant)}")
    return found


def label(verdict: Verdict) -> str:
    """ "better", "worse", "noise"; "the same" where not one item was answered differently; "" without a verdict."""
    found = verdict.difference
    if found is None:
        return ""
    return "the same" if found.only_first == found.only_second == 0 else found.verdict


def score(verdict: Verdict, which: str) -> str:
    """The first's or second's score: percent, or nats per token."""
    value = getattr(verdict.difference, which)
    return f"{value:.4f}" if verdict.task == "language" else f"{100 * value:.1f} %"


def gain(verdict: Verdict) -> str:
    """The difference with its interval: "-5.6 (-8.0 to -3.2) points"."""
    found = verdict.difference
    assert found is not None
    if verdict.task == "language":
        return f"{_signed(found.difference, 4)} ({_signed(found.low, 4)} to {_signed(found.high, 4)})"
    low, high = 100 * found.low, 100 * found.high
    return f"{_signed(100 * found.difference, 1)} points ({_signed(low, 1)} to {_signed(high, 1)})"


def scale(verdict: Verdict, verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Where low, middle, high and zero lie in percent of a bar that all verdicts of the measure share."""
    found = verdict.difference
    assert found is not None
    alike = [v.difference for v in verdicts if v.measure == verdict.measure and v.difference is not None]
    reach = max(max(abs(d.low), abs(d.high), abs(d.difference)) for d in alike) or 1.0
    ends = {"low": found.low, "middle": found.difference, "high": found.high}
    return {end: round(50 + 46 * value / reach, 2) for end, value in ends.items()}


def shown(value: Any) -> str:
    """A parameter, number or count for people; a dash for what is not there."""
    if value is ABSENT:
        return "–"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.5g}"
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    return f"{value:,}" if isinstance(value, int) else str(value)


def change(line: Line, other: int) -> str:
    """The other's number less the first's, with its sign; nothing where they are equal or no numbers."""
    found = line.change(other)
    if not found:
        return ""
    return f"{found:+,.0f}".replace("-", "−") if abs(found) >= 1000 else f"{found:+.4g}".replace("-", "−")


def short(value: Any) -> str:
    """The first characters of a digest, commit or run id."""
    return "–" if value is ABSENT or value is None else str(value)[:10]


def cell(value: Any) -> str:
    """Text for a cell of a Markdown table, as it is: nothing in it is markup."""
    text = str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_{}\[\]|#~])", r"\\\1", text)
    return text.replace("\r", "").replace("\n", "<br>")


def _signed(value: float, digits: int) -> str:
    text = f"{value:+.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")
