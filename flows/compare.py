"""Results side by side: what made them, what came out, and whether the differences are more than noise.

    python -m flows.compare A B [C …] [--prompt TEXT …] [--name NAME]          (make compare A=… B=…)

A, B, … are git revisions, DVC experiments, MLflow runs, registered models, or `workspace` (tasks/references.py). The
page and its Markdown lie in .scriptorium/comparisons/NAME/; the flow run has the Markdown as an artifact, an MLflow run
has all of it.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from flows import services

services.configure()  # before Prefect reads its settings

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State
from prefect.utilities.annotations import quote

from flows.notify import tell
from flows.session import prefect_server
from pipeline import journal, tracking
from tasks import comparison
from tasks.comparison import Comparison
from tasks.comparison_page import label, render, write_page
from tasks.curves import letter
from tasks.live_answers import LiveAnswer, answer_live
from tasks.references import resolve_all
from tasks.results import Result

PAGE = "comparison.html"


@flow(name="compare", log_prints=True, persist_result=False, on_failure=[tell], on_crashed=[tell])
def compare(references: list[str], prompts: list[str] | None = None, name: str | None = None) -> Any:
    """Put two results or more side by side; the first is what the others are measured against.

    prompts: questions for each result's assistant, answered now. name: of the page's folder; default: the references.
    """
    try:
        results = resolve_all(Path.cwd(), references)
    except ValueError as error:
        return Failed(message=str(error))
    parameters = {letter(number): reference for number, reference in enumerate(references)}
    parent = tracking.start_parent("compare", parameters, {"prefect.flow_run": flow_run.id})
    status, rows, gains, text = journal.FAILED, [], {}, ""
    try:
        found = gather(quote(results))
        live = ask(quote(results), prompts) if prompts else []
        folder = write_page(found, live, name)
        for file in sorted(folder.iterdir()):
            parent.journal.write("artifact", file=parent.journal.keep(file, file.name), folder="")
        rows, gains, text = _references(results), _gains(found), _in_short(found)
        status = journal.FINISHED
    finally:
        tracking.finish_parent(parent, rows, status=status, text=text, metrics=gains)
    create_markdown_artifact(
        render(found, "md", live), key="scriptorium-comparison", description=" · ".join(references)
    )
    print(text)
    return Completed(message=str(folder / PAGE))


@task(cache_policy=NO_CACHE, persist_result=False)
def gather(results: Sequence[Result]) -> Comparison:
    """What differs, and whether it is noise."""
    return comparison.compare(Path.cwd(), results)


@task(cache_policy=NO_CACHE, persist_result=False)
def ask(results: Sequence[Result], prompts: Sequence[str]) -> list[LiveAnswer]:
    """The prompts, answered by each result's assistant."""
    return answer_live(results, prompts)


def _references(results: Sequence[Result]) -> list[dict[str, Any]]:
    """A row a result, with a link to the run that evaluated it, or made it."""
    return [
        {
            "": letter(number),
            "result": result.name,
            "what": result.kind,
            "commit": (result.commit or "")[:10],
            "run_id": result.runs.get(result.stage or "evaluate"),
        }
        for number, result in enumerate(results)
    ]


def _gains(found: Comparison) -> dict[str, float]:
    """Every difference as a metric: difference/B/instruct/pretrained/validation."""
    return {
        f"difference/{letter(v.other)}/{v.task}/{v.variant.replace(' ', '_')}/{v.part}": v.difference.difference
        for v in found.verdicts
        if v.difference is not None
    }


def _in_short(found: Comparison) -> str:
    """A line for each verdict on the validation part."""
    lines = []
    for v in found.verdicts:
        if v.decides and v.difference is not None:
            scores = f"{v.difference.first:.4g} → {v.difference.second:.4g}"
            lines.append(f"{letter(v.other)}: {label(v):8} {v.task} {v.variant}: {v.measure} {scores} (validation)")
    return "\n".join(lines) or "no stored items in common: nothing can be judged"


def main(arguments: list[str]) -> int:
    """The command line. 0: the page is written; 1: something named is not there, in one sentence; 130: stopped."""
    parser = argparse.ArgumentParser(prog="python -m flows.compare", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("references", nargs="*", metavar="REFERENCE", help="two or more; the first is the measure")
    parser.add_argument("--prompt", action="append", metavar="TEXT", help="ask each result's assistant, too")
    parser.add_argument("--name", help="of the page's folder in .scriptorium/comparisons/")
    options = parser.parse_args(arguments)
    try:
        _check(options.references, options.name)
        return _run(options.references, options.prompt, options.name)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, TerminationSignal):
        print("stopped")
        return 130


def _check(references: list[str], name: str | None) -> None:
    """Everything that can be wrong is said before a server is started."""
    if name is not None and (not name or Path(name).name != name or name.startswith(".")):
        raise ValueError(f"--name is {name!r}: allowed is a plain folder name")
    resolve_all(Path.cwd(), references)


def _run(references: list[str], prompts: list[str] | None, name: str | None) -> int:
    with prefect_server():
        state = cast("State[Any]", compare(references, prompts, name, return_state=True))
    if not state.is_completed():
        print(f"error: {state.message}", file=sys.stderr)
        return 1
    print(f"The page: {state.message}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
