"""The refresh flow: asks the followed sources whether they changed, and retrains exactly what that makes stale.

    python -m flows.refresh [--stages evaluate] [--parallel 2] [--folder WORKSPACE] [--commit]          (make refresh)

New hashes go into sources.lock.json, for the person to commit (or for this flow, with --commit). Where something
changed, it ends with the Prefect event `scriptorium.data.changed`, on which automations can wait. Where nothing changed
and nothing is stale, it executes nothing.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from flows import services

services.configure()  # before Prefect reads its settings

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State

from flows.notify import tell
from flows.train import run_flow, scratch, up_to_date
from flows.workspace import workspace
from pipeline.followed import LOCK_FILE
from tasks.ask import Change, Passing, ask_sources, update_lock
from tasks.plan import make_plan
from tasks.reproduce import RETRIES, RETRY_DELAY_S, Setting

EVENT = "scriptorium.data.changed"


@flow(name="refresh", log_prints=True, persist_result=False, on_failure=[tell], on_crashed=[tell])
def refresh(
    stages: list[str] | None = None,
    parallel: int | None = None,
    time_limits_s: dict[str, float] | None = None,
    commit: bool = False,
    folder: str | None = None,
) -> Any:
    """Ask the followed sources; bring stages (default: all) up to date with what they say now.

    parallel, time_limits_s: as in the train flow.
    commit: commit sources.lock.json and dvc.lock to git in the end, if that went well and nothing else was edited.
    folder: the workspace, where it is not the current folder. Refused while somebody else is at work in it.
    """
    changes: list[Change] = []
    state: Any = None
    try:
        with workspace(folder, idle=True) as root:
            asked = ask(root, return_state=True)
            if not asked.is_completed():
                return Failed(message=asked.message)
            changes = update_lock(root, asked.result())
            for change in changes:
                get_run_logger().info(f"{change.name}: {(change.before or 'new')[:12]} → {change.now[:12]}")
            if make_plan(root, stages).nothing_to_do:
                state = Completed(message=_in_words(changes, "nothing is stale: nothing was executed"))
            else:
                state = up_to_date(stages, parallel, time_limits_s=time_limits_s or {}, flow_name="refresh")
            if state.is_completed() and commit:
                get_run_logger().info(commit_locks(root, changes))
    except ValueError as error:
        return Failed(message=str(error))
    finally:
        if changes:  # only now: what this triggers finds the workspace free
            publish(changes, cast("State[Any] | None", state))
    return state


def _may_pass(_task: object, _run: object, state: State[Any]) -> bool:
    return state.name == "Again"


@task(
    name="ask",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=RETRIES,
    retry_delay_seconds=RETRY_DELAY_S,
    retry_condition_fn=_may_pass,
)
def ask(root: Path) -> Any:
    """What stands at each followed address now."""
    setting = Setting(root, scratch(flow_run.id))
    try:
        return ask_sources(setting, get_run_logger().info)
    except Passing as error:
        return Failed(name="Again", message=str(error))
    except ValueError as error:
        return Failed(message=str(error))


def publish(changes: Sequence[Change], state: State[Any] | None) -> None:
    """The event that automations wait for: what changed, and whether the retraining went well."""
    emit_event(
        EVENT,
        resource={"prefect.resource.id": "scriptorium.data", "prefect.resource.name": Path.cwd().name},
        related=[{"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.role": "flow-run"}],
        payload={
            "sources": {change.name: {"before": change.before, "now": change.now} for change in changes},
            "retrained": bool(state is not None and state.is_completed()),
            "message": state.message if state is not None else "stopped",
        },
    )


def commit_locks(root: Path, changes: Sequence[Change]) -> str:
    """Commit the two lock files and nothing else; what was done, in words. Edits of other inputs forbid it."""
    files = [name for name in (LOCK_FILE, "dvc.lock") if (root / name).exists()]
    edited = _git(root, "diff", "HEAD", "--name-only", "--relative").splitlines()
    if others := sorted(set(edited) - set(files)):
        return f"not committed: {', '.join(others)} has edits that the results depend on; commit them together"
    _git(root, "add", "--", *files)
    if not _git(root, "diff", "--cached", "--name-only", "--", *files):
        return "nothing to commit"
    names = ", ".join(change.name for change in changes)
    _git(root, "commit", "--quiet", "-m", f"Data changed: {names}" if names else "Brought up to date", "--", *files)
    return f"committed {' and '.join(files)}"


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"git {arguments[0]}: {' '.join(done.stderr.split()) or 'failed'}")
    return done.stdout


def _in_words(changes: Sequence[Change], rest: str) -> str:
    return f"{', '.join(change.name for change in changes) or 'no source'} changed; {rest}"


def main(arguments: list[str]) -> int:
    """The command line. 0: all is up to date; 1: something failed, in one sentence; 130: stopped."""
    parser = argparse.ArgumentParser(prog="python -m flows.refresh", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--stages", nargs="+", metavar="STAGE", help="only these and what they need")
    parser.add_argument("--parallel", type=int, metavar="N", help="how many stages may run at once")
    parser.add_argument("--folder", metavar="WORKSPACE", help="where, if not here")
    parser.add_argument("--commit", action="store_true", help=f"commit {LOCK_FILE} and dvc.lock in the end")
    options = parser.parse_args(arguments)
    return run_flow(
        lambda: refresh(
            options.stages, options.parallel, commit=options.commit, folder=options.folder, return_state=True
        ),
        closing=None,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
