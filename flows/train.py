"""The training flow: every stage of dvc.yaml that is stale, siblings side by side, each as one Prefect task.

    python -m flows.train [--stages pretrain lora] [--parallel 2] [--time-limit 3600 pretrain=7200] [--plan]

DVC decides what runs, Prefect when, MLflow remembers; the flow only brings them together. It ends with one table.
However it ends (done, failed, Ctrl-C, SIGTERM, `prefect flow-run cancel`, kill -9), no process of a stage is left over.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from types import MappingProxyType
from typing import Any, cast

from flows import services

services.configure()  # before Prefect reads its settings

from prefect import flow, get_client, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import TerminationSignal
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed, State
from rich.console import Console

from flows.bars import live_bars
from flows.notify import tell
from flows.session import prefect_server
from flows.workspace import workspace
from pipeline import journal, paths, tracking
from pipeline.files import remove_tree
from pipeline.fingerprint import lookup
from pipeline.graph import PARAMS_FILE, StageSpec, load_graph, read_mapping, select
from pipeline.params import load_params
from pipeline.preset import change_params
from tasks.dvc_repo import repair, sort_lock
from tasks.plan import Plan, make_plan
from tasks.reproduce import FAILED, Outcome, Setting, not_reached, settle, stage_task
from tasks.summarize import (
    Row,
    closing_table,
    load_rows,
    mlflow_rows,
    publish_artifact,
    save_rows,
    summarize,
    with_run_ids,
)

POLL_S = 0.25
ASK_FOR_CANCEL_EVERY_S = 2.0
KEPT_RUNS = 20
NEXT = """What next?
  make chat   talk to what you have trained, let it write, classify a message (make app: the same as a page)
  make ui     curves, models and comparisons; the report is reports/evaluate/report.md
  change one number in params.yaml, such as lora.rank, and make run again: only what depends on it runs"""


@flow(name="train", log_prints=True, persist_result=False, on_failure=[tell], on_crashed=[tell])
def train(
    stages: list[str] | None = None,
    parallel: int | None = None,
    time_limit_s: float | None = None,
    time_limits_s: dict[str, float] | None = None,
    retries: dict[str, int] | None = None,
    presets: dict[str, str] | None = None,
    overrides: list[str] | None = None,
    folder: str | None = None,
) -> Any:
    """Bring stages (default: all) and what they need up to date.

    parallel: how many run at once; default: as many as there are processors for, at `runtime.threads` a process.
    time_limit_s: seconds that one stage may take; time_limits_s: {stage: seconds} for some of them, instead.
    retries: {stage: how often a failure that may pass is tried again}; 2 where not named.
    presets, overrides: {"model": "small"}, ["pretrain.learning_rate=4e-3"]: written to params.yaml first, where they
    stay, so that params.yaml goes on saying what dvc.lock's results were made with.
    folder: the workspace, where it is not the current folder. Refused while another flow is at work in it.
    """
    try:
        with workspace(folder):
            if presets or overrides:
                change_params(presets or {}, overrides or [])
            return up_to_date(stages, parallel, time_limit_s, time_limits_s or {}, retries or {})
    except ValueError as error:
        return Failed(message=str(error))


def up_to_date(
    stages: list[str] | None,
    parallel: int | None = None,
    time_limit_s: float | None = None,
    time_limits_s: Mapping[str, float] = MappingProxyType({}),
    retries: Mapping[str, int] = MappingProxyType({}),
    flow_name: str = "train",
) -> Any:
    """What `train` does, in the workspace that the running flow holds."""
    root, console = Path.cwd(), Console(stderr=True)
    select(load_graph(root), [*time_limits_s, *retries])
    for line in repair(root):
        _say(line, console)
    planned = plan(root, stages, return_state=True)
    if not planned.is_completed():
        return Failed(message=planned.message)
    the_plan = cast(Plan, planned.result())
    _say(f"The plan:\n{the_plan}", console)
    graph = {stage.name: stage.spec for stage in the_plan.stages}
    names = {"stages": ",".join(stages) if stages else "all", "parallel": parallel or slots(root)}
    parent = (
        None if the_plan.nothing_to_do else tracking.start_parent(flow_name, names, {"prefect.flow_run": flow_run.id})
    )
    key = parent.key if parent is not None else None
    found = the_plan.up_to_date if the_plan.nothing_to_do else frozenset()  # else time passes, and files may change
    if found:
        settle(root, sorted(found))
    setting = Setting(
        root,
        scratch(flow_run.id),
        key,
        time_limit_s,
        time_limits_s,
        retries,
        bars=console.is_terminal,
        up_to_date=found,
    )
    outcomes: dict[str, Outcome] = {}
    began, status = time.monotonic(), journal.KILLED
    try:
        with live_bars(setting, list(graph), outcomes, console), get_client(sync_client=True) as client:
            _run_all(graph, setting, parallel or slots(root), outcomes, client)
        if not setting.stop.is_set():
            sort_lock(root)
            status = journal.FINISHED if all(outcome.good for outcome in outcomes.values()) else journal.FAILED
    finally:
        not_reached(graph, outcomes)
        rows = summarize(root, graph, outcomes)
        save_rows(setting.scratch / "rows.json", rows)
        if parent is not None:
            seconds = {f"seconds.{row.stage}": row.seconds for row in rows} | {"seconds": time.monotonic() - began}
            sent = tracking.finish_parent(
                parent, mlflow_rows(rows), status=status, text=str(the_plan), metrics=seconds,
                wait_s=2.0 if status == journal.KILLED else tracking.FINAL_WAIT_S,
            )  # fmt: skip
            if sent is None and (why := tracking.why_unsent()):
                _say(why, console)
            rows = with_run_ids(rows)
            save_rows(setting.scratch / "rows.json", rows)
    publish_artifact(rows)
    if setting.stop.is_set():
        return Cancelled(message="cancelled; nothing was left running")
    failures = [f"{row.stage}: {row.message}\n{row.tail}".rstrip() for row in rows if row.what == FAILED]
    return Failed(message="\n".join(failures)) if failures else Completed(message=_in_short(rows))


@task(name="plan", cache_policy=NO_CACHE, persist_result=False)
def plan(root: Path, stages: list[str] | None) -> Any:
    """What will run, and why."""
    try:
        return make_plan(root, stages)
    except ValueError as error:
        return Failed(message=str(error))


def _run_all(
    graph: dict[str, StageSpec],
    setting: Setting,
    parallel: int,
    outcomes: dict[str, Outcome],
    client: SyncPrefectClient,
) -> None:
    """Start every stage as soon as what it needs is there, `parallel` at most at a time, until nothing more can start.

    Waiting is in short polls, so that whatever is thrown at this thread (Ctrl-C, SIGTERM) ends the stages soon.
    """
    futures: dict[str, PrefectFuture[Any]] = {}
    running: list[str] = []
    ended: SimpleQueue[PrefectFuture[Any]] = SimpleQueue()  # a future that is asked for its state would ask the server
    asked = time.monotonic()
    try:
        while True:
            for name, spec in graph.items():
                needs = [other for other in spec.upstream if other in graph]
                ready = name not in futures and all(other in outcomes and outcomes[other].good for other in needs)
                if ready and len(running) < parallel and not setting.stop.is_set():
                    run = stage_task(spec, setting, outcomes)
                    futures[name] = run.submit(wait_for=[futures[other] for other in needs])
                    futures[name].add_done_callback(ended.put)
                    running.append(name)
            if not running:
                return
            with contextlib.suppress(Empty):
                future = ended.get(timeout=POLL_S)
                future.wait()
                name = next(name for name in running if futures[name] is future)
                running.remove(name)
                if name not in outcomes:  # an error of ours: Prefect has logged it
                    outcomes[name] = Outcome(name, FAILED, message=str(future.state.message))
            if time.monotonic() - asked > ASK_FOR_CANCEL_EVERY_S:
                asked = time.monotonic()
                if cancelling(client):
                    setting.stop.set()
    except BaseException:
        setting.stop.set()
        for name in running:
            futures[name].wait()
        raise


def cancelling(client: SyncPrefectClient) -> bool:
    """Whether somebody asked for this flow run to be cancelled; a server that does not answer asks for nothing."""
    with contextlib.suppress(Exception):  # one client for all questions: making one takes 20 ms
        state = client.read_flow_run(flow_run.id).state
        return state is not None and (state.is_cancelling() or state.is_cancelled())
    return False


def slots(root: Path) -> int:
    """How many stages the processors have room for, `runtime.threads` in each process; at least one."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        params = read_mapping(root / PARAMS_FILE)
        threads = int(lookup(params, "runtime.threads")) * int(lookup(params, "runtime.processes"))
    except (KeyError, ValueError, TypeError):
        threads = processors
    return max(1, processors // max(1, threads))


def scratch(run_id: str) -> Path:
    """The folder for receipts, progress and rows of a flow run; those of the newest runs are kept."""
    folder = paths.home() / "flows" / str(run_id)
    folder.mkdir(parents=True, exist_ok=True)
    by_age = sorted(folder.parent.iterdir(), key=lambda other: other.stat().st_mtime, reverse=True)
    for old in by_age[KEPT_RUNS:]:
        remove_tree(old)
    return folder


def _say(text: str, console: Console) -> None:
    """To the log, and to the terminal, where the log is not shown."""
    get_run_logger().info(text)
    if console.is_terminal:
        console.print(text, markup=False, highlight=False)


def _in_short(rows: Sequence[Row]) -> str:
    """ "3 ran, 5 cached"."""
    happened = [row.what for row in rows]
    return ", ".join(f"{happened.count(what)} {what}" for what in dict.fromkeys(happened)) or "nothing to do"


def main(arguments: list[str], check: Callable[[], object] = load_params) -> int:
    """The command line. 0: all is up to date; 1: a stage failed or an input is wrong, in one sentence; 130: stopped."""
    parser = argparse.ArgumentParser(prog="python -m flows.train", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--stages", nargs="+", metavar="STAGE", help="only these and what they need")
    parser.add_argument("--parallel", type=int, metavar="N", help="how many stages may run at once")
    parser.add_argument(
        "--time-limit",
        nargs="+",
        default=[],
        metavar="SECONDS",
        help="what one stage may take (STAGE=SECONDS: this one)",
    )
    parser.add_argument("--retries", nargs="+", default=[], metavar="STAGE=N", help="tries after a passing failure")
    parser.add_argument("--plan", action="store_true", help="say what would run, and why; run nothing")
    options = parser.parse_args(arguments)
    try:
        check()
        if options.parallel is not None and options.parallel < 1:
            raise ValueError(f"--parallel is {options.parallel}: allowed are 1 and more")
        select(load_graph(), options.stages)
        if options.plan:
            print(make_plan(Path.cwd(), options.stages))
            return 0
        limits, retries = per_stage(options.time_limit, "--time-limit"), per_stage(options.retries, "--retries")
        counts = {stage: int(number) for stage, number in retries.items()}
        return run_flow(
            lambda: train(options.stages, options.parallel, limits.pop("", None), limits, counts, return_state=True)
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped")
        return 130


def per_stage(words: Sequence[str], option: str) -> dict[str, float]:
    """ "3600" and "pretrain=7200" as {"": 3600, "pretrain": 7200}; ValueError for what is no number."""
    found = {}
    for word in words:
        stage, _, number = word.rpartition("=")
        try:
            found[stage] = float(number)
        except ValueError:
            raise ValueError(f"{option} {word!r}: {number!r} is no number") from None
        if not found[stage] >= 0:
            raise ValueError(f"{option} {word!r}: allowed are 0 and more")
    return found


def run_flow(call: Callable[[], Any], closing: str | None = NEXT) -> int:
    """Run a flow against our Prefect server, print the table of its stages, and `closing` (None: its own message)."""
    began = time.time()
    state: State[Any] | None = None
    with prefect_server(), contextlib.suppress(KeyboardInterrupt, TerminationSignal):
        state = cast("State[Any]", call())
    rows = _rows_of(state, began)
    wide = Console()
    console = wide if wide.is_terminal else Console(width=120)
    console.print(closing_table(rows), highlight=False) if rows else None
    if state is None or state.is_cancelled():
        print("stopped: what was finished is kept, what was running goes on from its last checkpoint next time")
        return 130
    if not state.is_completed():
        failures = [f"{row.stage}: {row.message}" for row in rows if row.what == FAILED] or [str(state.message)]
        print("\n".join(f"error: {failure}" for failure in failures), file=sys.stderr)
        return 1
    print(closing if closing is not None else state.message)
    return 0


def _rows_of(state: State[Any] | None, began: float) -> list[Row]:
    """The rows of the flow run that a state is of; an interrupted flow returns none: those of the newest run since."""
    if state is not None and (run_id := state.state_details.flow_run_id):
        return load_rows(paths.home() / "flows" / str(run_id) / "rows.json")
    files = [file for file in (paths.home() / "flows").glob("*/rows.json") if file.stat().st_mtime >= began]
    return load_rows(max(files, key=lambda file: file.stat().st_mtime)) if files else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
