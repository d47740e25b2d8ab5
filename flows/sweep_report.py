"""What a sweep came to: the closing table, a page with plots that needs no other file, Prefect's artifacts of both."""

from __future__ import annotations

import base64
import csv
import html
import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.files import write_atomic
from pipeline.sweep_file import Sweep
from tasks.summarize import in_short
from tasks.trial import read_result

if TYPE_CHECKING:
    from rich.table import Table

COLOURS = {"complete": "green", "pruned": "dim", "failed": "bold red", "running": "yellow"}
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse; font-size: 85% }}
th, td {{ padding: .2rem .8rem; text-align: left; border-bottom: 1px solid #ddd }}
img {{ max-width: 100% }}
</style></head><body><h1>{title}</h1><p>{text}</p>{table}{images}</body></html>
"""


@dataclass(frozen=True)
class Line:
    """A trial in the closing table."""

    name: str
    values: Mapping[str, Any]
    state: str
    value: float | None
    seconds: float
    last_step: int | None
    ran: int  # stages that were executed; all others came from the cache
    run_id: str | None
    message: str

    def row(self) -> dict[str, Any]:
        """As MLflow's parent run and the files keep it; `run_id` becomes a link there."""
        shown = {"trial": self.name, **self.values, "state": self.state}
        shown["objective"] = self.value if self.state == "complete" else None  # a pruned one's is only its last so far
        return {**shown, "last step": self.last_step, "stages run": self.ran, "seconds": round(self.seconds, 1),
                "message": self.message, "run_id": self.run_id}  # fmt: skip


def lines_of(trials: Sequence[Any], folder: Path) -> list[Line]:
    """One line a trial, by number, from the study and from what the trials left."""
    lines = []
    for trial in trials:
        result = read_result(folder / "trials" / f"{trial.number:03}")
        ran = list(result.stages.values()).count("ran") if result is not None else 0
        seconds, run_id = (result.seconds, result.run_id) if result is not None else (0.0, None)
        failed = result is not None and result.what == "failed"
        name = f"{folder.name}-{trial.number:03}"
        message = result.message if result is not None else ""
        state = "failed" if failed else trial.state
        lines.append(Line(name, trial.values, state, trial.value, seconds, trial.last_step, ran, run_id, message))
    return lines


def closing_table(plan: Sweep, lines: Sequence[Line]) -> Table:
    """The table for the terminal, the best trials first."""
    from rich.table import Table
    from rich.text import Text

    table = Table("trial", *plan.parameters, pad_edge=False, box=None, header_style="bold")
    table.add_column(plan.file.objective.metric, justify="right")
    table.add_column("state")
    table.add_column("stages run", justify="right")
    table.add_column("seconds", justify="right")
    for line in sorted(lines, key=_best_first(plan)):
        state = Text(line.state + (f" at step {line.last_step}" if line.state == "pruned" else ""), COLOURS[line.state])
        value = in_short(line.value) if line.state == "complete" else ""
        values = [in_short(value) for value in line.values.values()]
        table.add_row(line.name, *values, value, state, str(line.ran), f"{line.seconds:.1f}")
    return table


def write_report(plan: Sweep, study: Any, lines: Sequence[Line], folder: Path, text: str) -> list[Path]:
    """trials.csv, the plots that there is enough for, and report.html, in which they are contained; their paths."""
    rows = [line.row() for line in lines]
    table = io.StringIO()
    if rows:
        writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_atomic(folder / "trials.csv", table.getvalue())
    plots = _plots(study, folder)
    best_first = [line.row() for line in sorted(lines, key=_best_first(plan))]
    images = "".join(f'<h2>{html.escape(title)}</h2><img alt="{title}" src="{_data(file)}">' for title, file in plots)
    title = f"Sweep {plan.name}"
    page = PAGE.format(title=html.escape(title), text=html.escape(text), table=_html_table(best_first), images=images)
    write_atomic(folder / "report.html", page)
    return [folder / "trials.csv", *(file for _, file in plots), folder / "report.html"]


def publish(lines: Sequence[Line], folder: Path, text: str) -> None:
    """The table and the plots as artifacts of the running Prefect flow."""
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    create_table_artifact([line.row() for line in lines], key="scriptorium-sweep", description=text)
    images = [file for file in (folder / "parallel.png", folder / "importance.png") if file.is_file()]
    markdown = "\n\n".join([text, *(f"![{file.stem}]({_data(file)})" for file in images)])
    create_markdown_artifact(markdown, key="scriptorium-sweep-plots", description="Which parameters matter")


def _best_first(plan: Sweep) -> Callable[[Line], float]:
    sign = 1 if plan.file.objective.direction == "minimize" else -1
    return lambda line: sign * line.value if line.state == "complete" and line.value is not None else math.inf


def _plots(study: Any, folder: Path) -> list[tuple[str, Path]]:
    """Optuna's own plots; importances need a few finished trials that differ."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from optuna.visualization import matplotlib as drawn

    done = [trial for trial in study.trials() if trial.state == "complete"]
    differ = len({trial.value for trial in done}) > 1
    wanted: list[tuple[str, str, Any, bool]]
    wanted = [("Parallel coordinates", "parallel", drawn.plot_parallel_coordinate, len(done) > 1)]
    wanted += [("Importance", "importance", drawn.plot_param_importances, len(done) > 2 and differ)]
    made = []
    for title, name, draw, enough in wanted:
        file = folder / f"{name}.png"
        file.unlink(missing_ok=True)
        if not enough:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            figure: Any = draw(study.optuna).figure
        figure.set_size_inches(9, 4.5)
        figure.savefig(file, dpi=110, bbox_inches="tight", metadata={"Software": None})
        plt.close("all")
        made.append((title, file))
    return made


def _data(file: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()


def _html_table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    body = ["".join(f"<td>{html.escape('' if v is None else in_short(v))}</td>" for v in row.values()) for row in rows]
    return f"<table><tr>{head}</tr>" + "".join(f"<tr>{row}</tr>" for row in body) + "</table>"
