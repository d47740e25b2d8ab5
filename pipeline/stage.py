"""What surrounds a stage's `main`: `sys.exit(run("pretrain", main, launch))`.

Checked parameters, one run at a time for the same inputs, outputs that appear whole at the end or not at all, inputs
that may not change underneath, a receipt for the flow, a journal for MLflow, one clear line for a person when it fails.
The stage itself only sees `Stage`: where to put what, and where to report.
"""

from __future__ import annotations

import math
import os
import posixpath
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from pipeline import journal, kept, ledger, outputs, paths, sync, syntax
from pipeline.costs import measured
from pipeline.faults import passing
from pipeline.files import md5_path, remove_tree, write_json
from pipeline.fingerprint import checkpoint_key, digest, inputs_of, outputs_of
from pipeline.graph import StageSpec, load_graph
from pipeline.journal import FAILED, FINISHED, KILLED, Journal
from pipeline.locks import hold, hold_all, this_process
from pipeline.params import leaves, load_params
from pipeline.progress import Progress, evaluated
from pipeline.receipt import Receipt, kind_of, message_of
from pipeline.schema import Params
from pipeline.secrets import without_secrets
from pipeline.signals import Stopper, die_with_parent
from pipeline.together import Launch, rank, run_together, spoken_for, started_by_another
from pipeline.tracking import FINAL_WAIT_S, Follower, code_tags

STOPPED_WAIT_S = 1.0


class Stage:
    """One run of a stage, as its `main` sees it."""

    def __init__(self, name: str, params: Params, spec: StageSpec, inputs: dict[str, Any], stopper: Stopper) -> None:
        self.name, self.params, self.spec, self.inputs = name, params, spec, inputs
        self.fingerprint = digest(inputs)
        self.first = rank() == 0  # of the processes that train together; the others take part in nothing else
        self.staging = paths.staging(name if self.first else f"{name}.rank{rank()}")
        self.journal: Journal | None = None  # the first process keeps it
        self.metrics: dict[str, Any] = {}
        self.costs: dict[str, float] = {}
        self._stopper = stopper

    @property
    def checkpoints(self) -> Path:
        """This run's folder for checkpoints: the same again after a kill, another when any input differs but how many
        processes share the work."""
        return paths.checkpoints(self.name, checkpoint_key(self.inputs))

    def out(self, path: str | Path) -> Path:
        """Where to write an output (or a file in an output folder) until it is moved into place; its parent exists."""
        wanted = posixpath.normpath(Path(path).as_posix())
        if not any(wanted == out or wanted.startswith(out + "/") for out in self.spec.outs):
            raise LookupError(f"{wanted} is no output of {self.name}; dvc.yaml lists {', '.join(self.spec.outs)}")
        place = self.staging / wanted
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def progress(self, total: int | None, unit: str = "", label: str = "") -> Progress:
        """`with stage.progress(500, "steps") as bar: bar.advance(loss=3.2)`."""
        return Progress(self.name, total, unit, label, silent=not self.first)

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        if self.journal:
            self.journal.metrics(values, step)
            evaluated(values, step)

    def log_tags(self, values: Mapping[str, object]) -> None:
        """Words about this run that are no parameter: what it computes on."""
        if self.journal:
            self.journal.write("tags", values={name: str(value) for name, value in values.items()})

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """A file or folder for MLflow, as it is now."""
        if self.journal:
            self.journal.write("artifact", file=self.journal.keep(path, path.name), folder=folder)

    def log_dataset(self, name: str, path: Path, context: str) -> None:
        """Name, digest (DVC's md5) and use (`train`, …) of data; the data themselves stay where they are."""
        if self.journal:
            found = path.relative_to(self.staging) if path.is_relative_to(self.staging) else path
            self._dataset(name, found.as_posix(), md5_path(path, cache=paths.digests()), context)

    def log_model(
        self,
        name: str,
        code: Path,
        artifacts: Mapping[str, Path],
        code_paths: Sequence[Path] = (),
        pip_requirements: Sequence[str] = (),
        input_example: Any = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        """A pyfunc model from code: `code` calls mlflow.models.set_model; `input_example` must be JSON.

        params: what `predict` takes besides texts, with the defaults, whose types MLflow holds callers to.
        """
        if self.journal:
            keep = self.journal.keep
            self.journal.write(
                "model",
                name=name,
                code=keep(code, code.name),
                artifacts={key: keep(path, key + path.suffix) for key, path in artifacts.items()},
                code_paths=[keep(path, path.name) for path in code_paths],
                pip_requirements=list(pip_requirements),
                input_example=input_example,
                params=dict(params or {}),
            )

    def write_metrics(self, values: Mapping[str, Any]) -> None:
        """The stage's result: reports/NAME/metrics.json, in MLflow `final/…`. FloatingPointError for NaN, infinity."""
        flat = leaves(values)
        for name, value in flat.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise FloatingPointError(f"the metric {name} is {value}")
        write_json(self.out(f"reports/{self.name}/metrics.json"), values)
        self.metrics = dict(values)
        self._log_once("final", flat)

    def log_costs(self, values: Mapping[str, float]) -> None:
        """Seconds, memory, throughput: for MLflow (`cost/…`) and the receipt, never for files that DVC tracks."""
        self.costs |= values
        self._log_once("cost", leaves(values))

    def stopping(self) -> bool:
        """Whether SIGTERM or SIGINT came: save a checkpoint and raise KeyboardInterrupt.

        A stage that never asks is interrupted at once; one that asks has SCRIPTORIUM_GRACE_S seconds.
        """
        return self._stopper.stopping()

    def start_record(self) -> None:
        """Open the journal (the unfinished one of these inputs, if any) and tell it what goes in."""
        self.journal = Journal.of_stage(self.name, self.fingerprint)
        syntax.remember(self.inputs["deps"])
        tags = {"dvc.stage": self.name, "dvc.inputs": self.fingerprint, **code_tags(f"stages.{self.name}")}
        parent = os.environ.get("SCRIPTORIUM_PARENT")
        self.journal.write("start", name=self.name, parent=parent, params=leaves(self.inputs["params"]), tags=tags,
                           process=this_process())  # fmt: skip
        for path, md5 in self.inputs["deps"].items():
            if not path.endswith(".py"):
                self._dataset(path, path, md5, "input")

    def _dataset(self, name: str, path: str, md5: str, context: str) -> None:
        assert self.journal is not None
        self.journal.write("dataset", name=name, path=path, digest=md5, context=context)

    def _log_once(self, group: str, flat: Mapping[str, Any]) -> None:
        numbers = {f"{group}/{name.replace('.', '/')}": value for name, value in flat.items() if _is_number(value)}
        if self.journal:
            self.journal.metrics(numbers, step=self.journal.attempt)


def run(name: str, main: Callable[[Stage], None], launch: Launch | None = None) -> int:
    """Run a stage in the current folder; returns the exit status: 0, 1, or 130 / 143 when it was stopped.

    launch: starts the processes of a stage that `runtime.processes` of them can run together (`gpt/launch.py`).
    """
    began = time.monotonic()
    receipt = Receipt(name, "executed")
    status = 0
    die_with_parent()
    with Stopper() as stopper:
        try:
            params = load_params()
            together = launch if params.runtime.processes > 1 and not started_by_another() else None
            done = _run(name, None if together else main, params, receipt, stopper)
            if together and not done:
                status = run_together(name, params, together, receipt)
                if status:
                    _say(name, receipt)
        except BaseException as error:
            status = _report(name, error, receipt, stopper)
    receipt.seconds = time.monotonic() - began
    with suppress(OSError):  # the disk that is full for a receipt has been reported
        receipt.write()
    return status


def _run(name: str, main: Callable[[Stage], None] | None, params: Params, receipt: Receipt, stopper: Stopper) -> bool:
    """Whether the outputs are in place now. Without a `main` they are where a finished result of these inputs waits."""
    graph = load_graph()
    if name not in graph:
        raise ValueError(f"dvc.yaml has no stage {name!r}; it lists {', '.join(graph)}")
    with _workspace_lock(name):
        stage = Stage(name, params, graph[name], inputs_of(graph[name], cache=paths.digests()), stopper)
        with _inputs_lock(stage):
            remove_tree(stage.staging)
            done = not started_by_another() and _take_finished(stage, receipt)  # else others wait for it in training
            if main is not None and not done:
                if stage.first:
                    _execute(stage, main, receipt, stopper)
                else:
                    main(stage)
    remove_tree(stage.staging)
    return done or main is not None


def _execute(stage: Stage, main: Callable[[Stage], None], receipt: Receipt, stopper: Stopper) -> None:
    stage.start_record()
    assert stage.journal is not None
    receipt.key = stage.journal.key
    follower = Follower(stage.journal.key, parent=os.environ.get("SCRIPTORIUM_PARENT"))
    status = FAILED
    try:
        with measured(stage.log_costs):
            main(stage)
        stopper.shield()  # from here on it is quicker to finish than to stop
        edited = _publish(stage)
        status = FINISHED
    except KeyboardInterrupt:
        status = KILLED
        raise
    finally:
        stopper.shield()
        receipt.metrics, receipt.costs = stage.metrics, stage.costs
        with suppress(OSError):  # on a full disk the first error is the one to tell
            remove_tree(stage.staging)
        with suppress(OSError):
            stage.journal.end(status)
        passing("ended")
        _let_follow(follower, stopper, STOPPED_WAIT_S if status == KILLED else FINAL_WAIT_S)
        receipt.run_id = sync.run_id_of(stage.journal.key)
    if edited := edited or _withdrawn(stage):
        raise ValueError(
            f"{edited} changed while the stage ran: its result belongs to the old inputs, so it is kept aside and "
            "taken when the edit is undone; run again for the new inputs"
        )


def _let_follow(follower: Follower, stopper: Stopper, wait_s: float) -> None:
    """Give the record time to arrive, as long as nobody asks to stop."""
    deadline = time.monotonic() + wait_s
    asked = False
    while not follower.finish(0.1) and time.monotonic() < deadline:
        if not asked and stopper.received is not None:
            asked, deadline = True, min(deadline, time.monotonic() + STOPPED_WAIT_S)


def _publish(stage: Stage) -> str:
    """Move the outputs into place, or park them when inputs were edited in the meantime; returns which ones were."""
    missing = [out for out in stage.spec.outs if not (stage.staging / out).exists()]
    if missing:
        raise RuntimeError(f"the stage ended without writing {', '.join(missing)}")
    made = outputs_of(stage.spec, stage.staging)
    assert stage.journal is not None
    stage.journal.write("tags", values={"dvc.outputs": digest(made)})
    edited = _edited(stage)
    record = _record_of(stage, made)
    if edited:
        outputs.park(stage.staging, paths.parked(stage.name, stage.fingerprint), record)
    else:
        _into_place(stage, record)
    _enter(stage, record)
    return edited


def _record_of(stage: Stage, made: dict[str, str]) -> dict[str, Any]:
    """What is kept of a result beside its files."""
    assert stage.journal is not None
    return {"inputs": stage.fingerprint, "outputs": made, "key": stage.journal.key,
            "metrics": stage.metrics, "costs": stage.costs}  # fmt: skip


def _into_place(stage: Stage, record: dict[str, Any]) -> None:
    """Publish what lies in staging; until DVC has it, it is also kept."""
    passing("before keeping")
    kept.keep(stage.spec, stage.staging, record)
    passing("after keeping")
    outputs.publish(stage.spec.outs, stage.staging, Path())
    passing("after publishing")


def _enter(stage: Stage, record: dict[str, Any]) -> None:
    """The ledger's line of a result, once."""
    made = digest(record["outputs"])
    line = {"stage": stage.name, "inputs": stage.fingerprint, "outputs": made, "key": record["key"]}
    if ledger.newest(**line) is None:
        ledger.append(line | {"run_id": sync.run_id_of(record["key"])})


def _withdrawn(stage: Stage) -> str:
    """Which inputs were edited after the result was published, in words: then it is parked, too.

    The record may have taken seconds to arrive, and what lies in place when this process ends is what DVC commits.
    """
    if edited := _edited(stage):
        made = outputs_of(stage.spec)
        for out in stage.spec.outs:
            Path(out).rename(stage.out(out))
        remove_tree(paths.kept(stage.name))
        outputs.park(stage.staging, paths.parked(stage.name, stage.fingerprint), _record_of(stage, made))
    return edited


def _take_finished(stage: Stage, receipt: Receipt) -> bool:
    """Whether a result of these very inputs was waiting, parked or not yet in DVC's hands, and is now in place."""
    record = kept.take(stage.spec, stage.fingerprint, stage.staging) or outputs.unpark(
        stage.spec, paths.parked(stage.name, stage.fingerprint), stage.staging
    )
    if record is None:
        return False
    _into_place(stage, record)
    _enter(stage, record)
    key = receipt.key = record["key"]
    if journal.last(key) and not journal.finished(key):  # killed before its last word, or marked so since
        Journal(key).end(FINISHED)
        Follower(key, parent=os.environ.get("SCRIPTORIUM_PARENT")).finish()
    receipt.message = "taken from the result that was kept aside"
    receipt.run_id = sync.run_id_of(key)
    receipt.metrics, receipt.costs = record["metrics"], record["costs"]
    print(f"{stage.name}: {receipt.message}", flush=True)
    return True


def _edited(stage: Stage) -> str:
    """Which inputs differ from the start of the run, in words; empty when none does."""
    try:
        now = inputs_of(load_graph()[stage.name], cache=paths.digests())
    except (ValueError, KeyError) as error:
        return f"an input ({error})"
    found = ["the command"] if now["cmd"] != stage.inputs["cmd"] else []
    for part in ("deps", "params"):
        before, after = leaves(stage.inputs[part]) if part == "params" else stage.inputs[part], now[part]
        after = leaves(after) if part == "params" else after
        found += [key for key in sorted({*before, *after}) if before.get(key, _edited) != after.get(key, _edited)]
    return ", ".join(found)


def _report(name: str, error: BaseException, receipt: Receipt, stopper: Stopper) -> int:
    """One line for the person, the whole story for the log, the kind for the flow."""
    trace = without_secrets("".join(traceback.format_exception(error)))
    log = paths.logs() / f"{name}.log"
    with suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as out:
            out.write(f"--- {time.strftime('%F %T')} process {os.getpid()}\n{trace}\n")
    if isinstance(error, KeyboardInterrupt):
        receipt.status, receipt.message = "stopped", "stopped"
        status = 143 if stopper.by_sigterm else 130
    else:
        receipt.status, receipt.kind = "failed", kind_of(error)
        receipt.message = without_secrets(message_of(error))
        status = 1
    if os.environ.get("SCRIPTORIUM_TRACEBACK") == "1":
        print(trace, end="", file=sys.stderr)
    if not spoken_for():
        _say(name, receipt)
    return status


def _say(name: str, receipt: Receipt) -> None:
    log = paths.logs() / f"{name}.log"
    hint = f" (a fault of the program; see {log}, or set SCRIPTORIUM_TRACEBACK=1)" if receipt.kind == "bug" else ""
    print(f"{name}: {receipt.message}{hint}", file=sys.stderr, flush=True)


def _workspace_lock(name: str) -> Any:
    """Two runs of a stage in one workspace would share the staging folder."""
    return nullcontext() if rank() else hold(f"stage-{name}", waiting=_waiting(name), place=paths.staging(name).parent)


def _inputs_lock(stage: Stage) -> Any:
    """Two runs on the same inputs, in whatever workspace, would share checkpoints and journal."""
    names = [f"{stage.name}-{inputs}" for inputs in (stage.fingerprint, checkpoint_key(stage.inputs))]
    return hold_all(names, waiting=_waiting(stage.name)) if stage.first else nullcontext()


def _waiting(name: str) -> Callable[[str], None]:
    return lambda holder: print(f"{name}: waiting for {holder}, which runs this stage", file=sys.stderr, flush=True)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
