"""The workspace that a flow works in, for as long as it does: nobody else's flow may change it underneath.

The lock lies in the workspace itself, so that it holds whatever SCRIPTORIUM_HOME its flows share.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline import paths
from pipeline.graph import load_graph
from pipeline.locks import hold


@contextmanager
def workspace(folder: str | None = None, *, idle: bool = False) -> Iterator[Path]:
    """Go to the folder (default: stay) and hold it. ValueError: it is none of ours, or somebody else is at work in it.

    idle: refuse also while a stage runs that no flow started (`dvc repro`, `dvc exp run`).
    """
    if folder is not None:
        if not Path(folder, "dvc.yaml").is_file():
            raise ValueError(f"{folder} is no workspace: it has no dvc.yaml")
        os.chdir(folder)  # for good: what follows the flow (its hooks, its summary) looks there, too
    root = Path.cwd()
    place = paths.staging("flow").parent
    with ExitStack() as held:
        try:
            held.enter_context(hold("flow", timeout_s=0, place=place))
        except TimeoutError as error:
            raise ValueError(_taken(root, "another flow", error)) from None
        if idle:
            _check_idle(root, list(load_graph(root)), place)
        yield root


def _check_idle(root: Path, stages: Sequence[str], place: Path) -> None:
    for stage in stages:
        try:
            with hold(f"stage-{stage}", timeout_s=0, place=place):
                pass
        except TimeoutError as error:
            raise ValueError(_taken(root, f"the stage {stage}", error)) from None


def _taken(root: Path, who: str, error: TimeoutError) -> str:
    holder = str(error).partition(" is in use by ")[2]
    return f"{who} is at work in {root.name}/ ({holder}): wait for it to end, or stop it"
