"""The sweep flow: many trials of a few parameters, each a DVC experiment, chosen by Optuna on validation data.

    python -m flows.sweep conf/sweep/learning_rate.yaml [--start-over]        (make sweep SWEEP=…)

DVC decides what a trial still has to run, Prefect where trials run, MLflow remembers them under one parent. Killed at
any time and started again, the sweep goes on: what was tried is not tried again, what was running is resumed.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, cast

from flows import services

services.configure()  # before Prefect reads its settings

from prefect import flow, get_client, get_run_logger
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import TerminationSignal
from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Completed, Failed, State
from rich.console import Console

from flows.bars import events_since
from flows.notify import tell
from flows.runners import task_runner
from flows.session import prefect_server
from flows.sweep_report import Line, closing_table, lines_of, publish, write_report
from flows.train import ASK_FOR_CANCEL_EVERY_S, cancelling
from pipeline import journal, paths, tracking
from pipeline.files import remove_tree, write_json
from pipeline.locks import hold
from pipeline.sweep_file import Sweep, load_sweep
from tasks.trial import COMPLETE, PRUNED, STOPPED, Owner, Result, Trial, read_result, trial_task
from tasks.workspace import apply_experiment, head_commit, take_snapshot

POLL_S = 0.2
FAILURES_IN_A_ROW = 3
REFUSED = "Refused"  # the name of the state when nothing was even tried


@flow(name="sweep", log_prints=True, persist_result=False, on_failure=[tell], on_crashed=[tell])
def sweep(file: str) -> Any:
    """Try what the sweep file describes, or go on with it."""
    try:
        plan = load_sweep(Path(file))
        folder = paths.sweeps(plan.name)
        with hold(f"sweep-{plan.name}", timeout_s=0):
            return _sweep(plan, folder)
    except (ValueError, TimeoutError) as error:
        return Failed(name=REFUSED, message=str(error))


def _sweep(plan: Sweep, folder: Path) -> Any:
    from flows.study import Study  # Optuna is an extra

    runner = task_runner(plan.file.runner, plan.file.parallel, plan.file.address)
    begun = _begin(plan, folder)
    study = Study(plan, folder)
    if begun["key"] is None and study.finished and (best := study.best()) is not None:  # no run where nothing is done
        return _applied(plan, best.number) or Completed(
            message=_in_short(plan, study, lines_of(study.trials(), folder))
        )
    key = _key_of(begun, folder, plan)
    known = plan.described() | {"trials": plan.trials, "parallel": plan.file.parallel, "runner": plan.file.runner}
    described = {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in known.items()}
    parent = tracking.start_parent(f"sweep-{plan.name}", described, {"scriptorium.flow": "sweep"}, key=key)
    progress = Trials(plan, study, folder, parent.key)
    status = journal.KILLED
    try:
        with runner as started, get_client(sync_client=True) as client:
            progress.run(started, client)
        status = journal.KILLED if progress.stopped else journal.FAILED if progress.gave_up else journal.FINISHED
    finally:
        lines = lines_of(study.trials(), folder)
        text = _in_short(plan, study, lines)
        for made in write_report(plan, study, lines, folder, text):
            parent.journal.write("artifact", file=parent.journal.keep(made, made.name), folder="sweep")
        best = study.best()
        tracking.finish_parent(
            parent, [line.row() for line in lines], status=status, text=text,
            metrics={"objective": best.value} if best is not None and best.value is not None else None,
            wait_s=2.0 if status == journal.KILLED else tracking.FINAL_WAIT_S,
        )  # fmt: skip
        if status == journal.FINISHED:
            _forget_run(folder)
    publish(lines, folder, text)
    if progress.stopped:
        return Cancelled(message="stopped; nothing was left running")
    if progress.gave_up or best is None:
        return Failed(message=progress.gave_up or "no trial came to an end")
    return _applied(plan, best.number) or Completed(message=text)


def _applied(plan: Sweep, best: int) -> State[Any] | None:
    """Put the best trial into the workspace, where the file says so; the state that says why that failed."""
    try:
        if plan.file.apply:
            apply_experiment(Path.cwd(), _experiment(plan, best), plan.stages)
    except RuntimeError as error:
        return Failed(message=str(error))
    return None


def _begin(plan: Sweep, folder: Path) -> dict[str, Any]:
    """The sweep's own record, made at its first start. ValueError when it was begun as another one."""
    file, root = folder / "sweep.json", str(Path.cwd())
    if not file.is_file():
        remove_tree(folder)
        commit = head_commit(Path.cwd())
        take_snapshot(Path.cwd(), folder / "snapshot")
        first = {
            "commit": commit,
            "root": root,
            "sweep": plan.described(),
            "key": tracking.new_key(f"sweep-{plan.name}"),
        }
        write_json(file, first)
    begun: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    changed = [name for name, value in plan.described().items() if begun["sweep"].get(name) != value]
    if changed or begun["root"] != root:
        what = f"its {' and '.join(changed)} changed since" if changed else f"it belongs to {begun['root']}"
        raise ValueError(
            f"the sweep {plan.name} was begun before, and {what}: rename the file, "
            "or throw away what it found with --start-over"
        )
    return begun


def _key_of(begun: Mapping[str, Any], folder: Path, plan: Sweep) -> str:
    """The key of the sweep's MLflow run; a sweep that was finished once, and is given more trials, gets another."""
    key = str(begun["key"] or tracking.new_key(f"sweep-{plan.name}"))
    write_json(folder / "sweep.json", {**begun, "key": key})
    return key


def _forget_run(folder: Path) -> None:
    """The MLflow run is finished: whoever goes on with the sweep opens another."""
    begun = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    write_json(folder / "sweep.json", begun | {"key": None})


class Trials:
    """The trials of one run of the flow: asked for, started, watched, told."""

    def __init__(self, plan: Sweep, study: Any, folder: Path, parent: str) -> None:
        self.plan, self.study, self.folder, self.parent = plan, study, folder, parent
        self.owner = Owner.this()
        self.waiting = [trial for trial in study.trials() if trial.state == "running"]  # of an earlier run of the flow
        self.running: dict[int, tuple[Trial, PrefectFuture[Any]]] = {}
        self.ended: SimpleQueue[int] = SimpleQueue()  # a future that is asked for its state would ask the server
        self.read: dict[int, int] = {}
        self.failures = 0
        self.stopped = False
        self.gave_up = ""

    def run(self, runner: Any, client: SyncPrefectClient) -> None:
        """Until no trial is left. Whatever is thrown at this thread ends the running ones before it goes on."""
        asked = time.monotonic()
        try:
            while True:
                while len(self.running) < self.plan.file.parallel and not (self.stopped or self.gave_up):
                    if not self._start_next(runner):
                        break
                if not self.running:
                    return
                self._collect(timeout_s=POLL_S)
                self._watch()
                if time.monotonic() - asked > ASK_FOR_CANCEL_EVERY_S:
                    asked = time.monotonic()
                    if not self.stopped and cancelling(client):
                        self._stop()
        except BaseException:
            self._stop()
            for _, future in self.running.values():
                future.wait()
            raise

    def _start_next(self, runner: Any) -> bool:
        tried = self.waiting.pop(0) if self.waiting else self.study.ask()
        if tried is None:
            return False
        trial = self._trial(tried.number, tried.values)
        trial.stop_file.unlink(missing_ok=True)
        values = ", ".join(f"{leaf} {value}" for leaf, value in trial.values.items())
        get_run_logger().info(f"{trial.name} of {self.plan.trials}: {values}")
        future = runner.submit(trial_task, parameters={"trial": trial})
        self.running[tried.number] = (trial, future)
        future.add_done_callback(lambda _: self.ended.put(tried.number))
        return True

    def _trial(self, number: int, values: Mapping[str, Any]) -> Trial:
        name, objective = _experiment(self.plan, number), self.plan.file.objective
        return Trial(
            name, number, values, tuple(self.plan.stages), (objective.stage, objective.metric), str(Path.cwd()),
            str(paths.home()), str(self.folder / "trials" / f"{number:03}"), str(self.folder / "snapshot"),
            f"{self.parent}-{number:03}", self.parent, self.owner,
        )  # fmt: skip

    def _watch(self) -> None:
        """Tell the study what trainings report, and end those that it gives up."""
        pruner = self.plan.file.pruner
        if pruner is None:
            return
        for number, (trial, _) in self.running.items():
            events, self.read[number] = events_since(trial.progress_file, self.read.get(number, 0))
            for event in events:
                value = event.get("evaluated", {}).get(pruner.metric)
                if value is None or not math.isfinite(value):
                    continue
                if self.study.report(number, event["step"], value) and not trial.asked_to_end():
                    get_run_logger().info(
                        f"{trial.name}: {pruner.metric} {value:.4g} after {event['step']} steps: pruned"
                    )
                    trial.end(PRUNED)

    def _collect(self, timeout_s: float) -> None:
        """Wait this long for a trial to end, and tell the study how it did."""
        with contextlib.suppress(Empty):
            number = self.ended.get(timeout=timeout_s)
            self._watch()  # what it said last
            trial, future = self.running.pop(number)
            future.wait()
            self._told(trial, read_result(trial.folder) or Result("failed", message=str(future.state.message)))

    def _told(self, trial: Trial, result: Result) -> None:
        if result.what == COMPLETE and result.value is not None:
            self.study.complete(trial.number, result.value)
        elif result.what == PRUNED:
            self.study.prune(trial.number)
        elif result.final:
            self.study.fail(trial.number)
        elif result.what != STOPPED:  # not told: it is tried again when the sweep goes on
            self.failures += 1
            if self.failures >= FAILURES_IN_A_ROW:
                self.gave_up = f"{self.failures} trials in a row failed, the last one: {result.message}"
        self.failures = 0 if result.final else self.failures
        shown = f"{result.value:.6g}" if result.value is not None else result.message
        get_run_logger().info(f"{trial.name}: {result.what} {shown} ({result.seconds:.0f} s)")

    def _stop(self) -> None:
        self.stopped = True
        for trial, _ in self.running.values():
            if not trial.asked_to_end():
                trial.end(STOPPED)


def _experiment(plan: Sweep, number: int) -> str:
    return f"{plan.name}-{number:03}"


def _in_short(plan: Sweep, study: Any, lines: list[Line]) -> str:
    """ "8 trials: 5 complete, 3 pruned. Best: learning_rate-003 with …"."""
    states = [line.state for line in lines]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    text = f"{len(lines)} trial{'s' * (len(lines) != 1)}: {counted or 'none'}."
    if (best := study.best()) is not None:
        values = ", ".join(f"{leaf} {value}" for leaf, value in best.values.items())
        objective = f"{plan.file.objective.stage} {plan.file.objective.metric}"
        text += f" Best: {_experiment(plan, best.number)} with {values}: {objective} {best.value:.6g}."
    return text


def main(arguments: list[str]) -> int:
    """The command line. 0: done; 1: something is wrong, in one sentence; 130: stopped."""
    parser = argparse.ArgumentParser(prog="python -m flows.sweep", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("file", type=Path, help="the sweep file, as conf/sweep/learning_rate.yaml")
    parser.add_argument("--start-over", action="store_true", help="forget what this sweep has found so far")
    options = parser.parse_args(arguments)
    try:
        plan = load_sweep(options.file)
        import flows.study  # noqa: F401  one sentence when Optuna is missing

        if options.start_over:
            with hold(f"sweep-{plan.name}", timeout_s=0):
                remove_tree(paths.sweeps(plan.name))
        return _run(str(options.file), plan)
    except (ValueError, TimeoutError) as error:
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped")
        return 130


def _run(file: str, plan: Sweep) -> int:
    os.environ["SCRIPTORIUM_HOME"] = str(paths.home())  # also where trials run in other processes
    state: State[Any] | None = None
    with prefect_server(), contextlib.suppress(KeyboardInterrupt, TerminationSignal):
        state = cast("State[Any]", sweep(file, return_state=True))
    folder = paths.sweeps(plan.name)
    if state is None or state.is_cancelled():
        print("stopped: what was tried is kept, what was running goes on from its last checkpoint next time")
        return 130
    if state.name != REFUSED and (folder / "study.db").is_file():
        from flows.study import Study

        wide = Console()
        console = wide if wide.is_terminal else Console(width=120)
        study = Study(plan, folder)
        lines = lines_of(study.trials(), folder)
        console.print(closing_table(plan, lines), highlight=False)
    if not state.is_completed():
        print("\n".join(f"error: {line}" for line in str(state.message).splitlines()), file=sys.stderr)
        return 1
    print(state.message)
    best = study.best()
    assert best is not None, "a completed sweep has a trial that is"
    print(_next(plan, _experiment(plan, best.number), folder))
    return 0


def _next(plan: Sweep, name: str, folder: Path) -> str:
    taken = f"{name} is in your workspace now" if plan.file.apply else f"dvc exp apply {name}   takes it over"
    return f"{taken}; dvc exp show lists all; plots and the table: {os.path.relpath(folder / 'report.html')}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
