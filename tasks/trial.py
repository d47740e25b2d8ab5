"""One trial of a sweep: its own workspace, its stages one after the other, its MLflow run, its DVC experiment.

A trial is described by plain data and tells what became of it in files, so that it makes no difference whether a
thread, a process or another computer with the same home runs it. It is ended by a file `stop` in its folder, or when
the flow that started it is gone.
"""

from __future__ import annotations

import json
import math
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
from prefect import Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Cancelled, Completed, Failed

from pipeline import journal, paths, tracking
from pipeline.files import remove_tree, write_atomic, write_json
from pipeline.fingerprint import checkpoint_key, inputs_of, lookup
from pipeline.graph import StageSpec, load_graph, select
from pipeline.sweep_file import metrics_file
from tasks.dvc_repo import repair
from tasks.reproduce import FAILED, GOOD, Outcome, Setting, not_reached, stage_task
from tasks.summarize import mlflow_rows, summarize
from tasks.workspace import make_workspace, save_experiment

COMPLETE, PRUNED, STOPPED = "complete", "pruned", "stopped"  # and FAILED
LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class Owner:
    """The process of the flow, as another process can recognize it."""

    pid: int
    created: float
    host: str

    @classmethod
    def this(cls) -> Owner:
        return cls(os.getpid(), psutil.Process().create_time(), socket.gethostname())

    @property
    def gone(self) -> bool:
        """Whether it certainly lives no more; of another computer's process nothing is known."""
        if self.host != socket.gethostname():
            return False
        try:
            return abs(psutil.Process(self.pid).create_time() - self.created) > 1.0
        except psutil.NoSuchProcess:
            return True


@dataclass(frozen=True)
class Trial:
    """What to try. `key` and `parent` are those of the trial's and the sweep's journals."""

    name: str  # of the experiment and of the MLflow run
    number: int
    values: Mapping[str, Any]
    stages: tuple[str, ...]
    objective: tuple[str, str]  # stage, metric
    root: str
    home: str
    folder: str
    snapshot: str
    key: str
    parent: str
    owner: Owner

    @property
    def workspace(self) -> Path:
        return Path(self.folder) / "workspace"

    @property
    def progress_file(self) -> Path:
        """Where the objective's stage reports its evaluations."""
        return Setting(self.workspace, self._scratch).progress_file(self.objective[0])

    @property
    def stop_file(self) -> Path:
        return Path(self.folder) / "stop"

    @property
    def _scratch(self) -> Path:
        return Path(self.folder) / "scratch"

    def end(self, why: str) -> None:
        """Ask for the trial's end: PRUNED or STOPPED."""
        write_atomic(self.stop_file, why)

    def asked_to_end(self) -> str:
        """PRUNED, STOPPED or nothing."""
        with suppress(OSError):
            return self.stop_file.read_text(encoding="utf-8")
        return STOPPED if self.owner.gone else ""


@dataclass(frozen=True)
class Result:
    """What became of a trial: complete, pruned, failed or stopped. `kind` is a failure's; `run_id` MLflow's."""

    what: str
    value: float | None = None
    message: str = ""
    kind: str | None = None
    seconds: float = 0.0
    experiment: str | None = None
    run_id: str | None = None
    stages: Mapping[str, str] = field(default_factory=dict)  # what happened to each

    @property
    def final(self) -> bool:
        """Whether it is an answer. A failure of anything but the numbers is not: the trial is tried again."""
        return self.what in (COMPLETE, PRUNED) or (self.what == FAILED and self.kind == "numeric")


def read_result(folder: Path | str) -> Result | None:
    """What a trial left in its folder; None while it has not ended."""
    try:
        return Result(**json.loads((Path(folder) / "result.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


@task(name="trial", task_run_name="{trial.name}", cache_policy=NO_CACHE, persist_result=False)
def trial_task(trial: Trial) -> Any:
    """A trial, its stages as tasks within. How it ended is a state of its own: pruned is not failed."""
    os.environ["SCRIPTORIUM_HOME"] = trial.home  # where a worker of a cluster was not told
    result = run_trial(trial)
    if result.what == STOPPED:
        return Cancelled(message="the sweep was stopped")
    if result.what == FAILED:
        return Failed(message=result.message)
    return Completed(name={PRUNED: "Pruned"}.get(result.what), message=result.message or f"{result.value}")


def run_trial(trial: Trial) -> Result:
    """Bring the trial's stages up to date in its workspace; the result is written, and the workspace removed."""
    began = time.monotonic()
    if (known := read_result(trial.folder)) is not None and known.final:
        return known
    make_workspace(Path(trial.snapshot), trial.workspace, trial.values)
    repair(trial.workspace)
    graph = select(load_graph(trial.workspace), trial.stages)
    tags = {"scriptorium.flow": "trial", "scriptorium.sweep": trial.name.rpartition("-")[0]}
    tags |= {"scriptorium.trial": str(trial.number), "mlflow.source.name": "flows.sweep"}
    record = tracking.start_parent(trial.name, trial.values, tags, key=trial.key, parent=trial.parent)
    outcomes: dict[str, Outcome] = {}
    setting = Setting(trial.workspace, trial._scratch, trial.key, bars=True)
    result = Result(STOPPED)
    try:
        with _watched(trial, setting):
            for spec in graph.values():
                run: Task[[], Any] = stage_task(spec, setting, outcomes)
                run(return_state=True)
                if not (spec.name in outcomes and outcomes[spec.name].good):
                    break
        result = _judged(trial, graph, outcomes)
    finally:
        not_reached(graph, outcomes)
        rows = summarize(trial.workspace, graph, outcomes)
        result = replace(result, seconds=time.monotonic() - began, stages={row.stage: row.what for row in rows})
        if result.final:
            result = _kept(trial, graph, result)
        ended = {STOPPED: journal.KILLED, FAILED: journal.FAILED}.get(result.what, journal.FINISHED)
        record.journal.write("tags", values={"scriptorium.state": result.what})
        numbers = {"objective": result.value} if result.value is not None else {}
        text = _told(trial, result)
        run_id = tracking.finish_parent(record, mlflow_rows(rows), status=ended, text=text, metrics=numbers)
        result = replace(result, run_id=run_id)
        write_json(Path(trial.folder) / "result.json", asdict(result))
        if result.final:
            remove_tree(trial.workspace)
    return result


@contextmanager
def _watched(trial: Trial, setting: Setting) -> Iterator[None]:
    """While the block runs, a request to end stops the stages."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_EVERY_S):
            if trial.asked_to_end():
                return setting.stop.set()

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    except BaseException:
        setting.stop.set()
        raise
    finally:
        over.set()
        watcher.join()


def _judged(trial: Trial, graph: Mapping[str, StageSpec], outcomes: Mapping[str, Outcome]) -> Result:
    bad = next((outcome for outcome in outcomes.values() if not outcome.good), None)
    if bad is not None and bad.what == FAILED:
        return Result(FAILED, message=f"{bad.stage}: {bad.message}", kind=bad.kind)
    if len(outcomes) < len(graph) or bad is not None:
        return Result(trial.asked_to_end() or STOPPED)
    stage, metric = trial.objective
    file = trial.workspace / metrics_file(graph[stage])
    try:
        value = float(lookup(json.loads(file.read_text(encoding="utf-8")), metric))
        if math.isfinite(value):
            return Result(COMPLETE, value)
        return Result(FAILED, message=f"{stage} {metric} is {value}", kind="numeric")
    except (KeyError, TypeError, ValueError):
        return Result(FAILED, message=f"{file.relative_to(trial.workspace)} holds no number {metric}", kind="user")


def _kept(trial: Trial, graph: Mapping[str, StageSpec], result: Result) -> Result:
    """The result with its experiment; the checkpoints of a training that was ended early are of no use any more."""
    done = [name for name, what in result.stages.items() if what in GOOD]
    try:
        message, missed = f"{trial.name}: {_told(trial, result)}", set(graph) - set(done)
        saved = save_experiment(trial.workspace, Path(trial.root), trial.name, done, message, missed)
    except (RuntimeError, ValueError) as error:
        get_run_logger().warning(f"{trial.name} is not kept as an experiment: {error}")
        saved = False
    for name in set(graph) - set(done):
        with suppress(ValueError):
            made_from = checkpoint_key(inputs_of(graph[name], trial.workspace, cache=paths.digests()))
            remove_tree(paths.checkpoints(name, made_from))
    return replace(result, experiment=trial.name if saved else None)


def _told(trial: Trial, result: Result) -> str:
    values = ", ".join(f"{leaf} {value}" for leaf, value in trial.values.items())
    outcome = result.message or (f"{'.'.join(trial.objective)} {result.value:.6g}" if result.value is not None else "")
    return ": ".join(part for part in (f"{result.what} with {values}", outcome) if part)
