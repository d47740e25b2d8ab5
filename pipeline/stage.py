"""What surrounds a stage's `main`: `sys.exit(run("pretrain", main))`.

Checked parameters, one run at a time for the same inputs, outputs that appear whole at the end or not at all, inputs
that may not change underneath, a receipt for the flow, a journal for MLflow, one clear line for a person when it fails.
The stage itself only sees `Stage`: where to put what, and where to report.
"""

from __future__ import annotations

import math
import os
import posixpath
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from pipeline import ledger, outputs, paths, sync, syntax
from pipeline.files import md5_path, remove_tree, write_json
from pipeline.fingerprint import digest, inputs_of, outputs_of
from pipeline.graph import StageSpec, load_graph
from pipeline.journal import FAILED, FINISHED, KILLED, Journal
from pipeline.locks import hold
from pipeline.params import leaves, load_params
from pipeline.progress import Progress
from pipeline.receipt import Receipt, kind_of, message_of
from pipeline.schema import Params
from pipeline.signals import Stopper, die_with_parent
from pipeline.tracking import FINAL_WAIT_S, Follower, code_tags

STOPPED_WAIT_S = 3.0


class Stage:
    """One run of a stage, as its `main` sees it."""

    def __init__(self, name: str, params: Params, spec: StageSpec, inputs: dict[str, Any], stopper: Stopper) -> None:
        self.name, self.params, self.spec, self.inputs = name, params, spec, inputs
        self.fingerprint = digest(inputs)
        self.staging = paths.staging(name if _rank() == 0 else f"{name}.rank{_rank()}")
        self.journal: Journal | None = None  # the first process of a torchrun keeps it
        self.metrics: dict[str, Any] = {}
        self.costs: dict[str, float] = {}
        self._stopper = stopper

    @property
    def checkpoints(self) -> Path:
        """This run's folder for checkpoints: the same again after a kill, another when any input differs."""
        return paths.checkpoints(self.name, self.fingerprint)

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
        return Progress(self.name, total, unit, label, silent=_rank() > 0)

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        if self.journal:
            self.journal.metrics(values, step)

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
            self._dataset(name, found.as_posix(), md5_path(path, cache=_digest_cache()), context)

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

        A stage that never asks is interrupted at once; one that asks has 30 seconds.
        """
        return self._stopper.stopping()

    def start_record(self) -> None:
        """Open the journal (the unfinished one of these inputs, if any) and tell it what goes in."""
        self.journal = Journal.of_stage(self.name, self.fingerprint)
        syntax.remember(self.inputs["deps"])
        tags = {"dvc.stage": self.name, "dvc.inputs": self.fingerprint, **code_tags(f"stages.{self.name}")}
        parent = os.environ.get("SCRIPTORIUM_PARENT")
        self.journal.write("start", name=self.name, parent=parent, params=leaves(self.inputs["params"]), tags=tags)
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


def run(name: str, main: Callable[[Stage], None]) -> int:
    """Run a stage in the current folder; returns the exit status: 0, 1, or 130 / 143 when it was stopped."""
    began = time.monotonic()
    receipt = Receipt(name, "executed")
    status = 0
    die_with_parent()
    with Stopper() as stopper:
        try:
            _run(name, main, receipt, stopper)
        except BaseException as error:
            status = _report(name, error, receipt, stopper)
    receipt.seconds = time.monotonic() - began
    if _rank() == 0:
        receipt.write()
    return status


def _run(name: str, main: Callable[[Stage], None], receipt: Receipt, stopper: Stopper) -> None:
    params = load_params()
    graph = load_graph()
    if name not in graph:
        raise ValueError(f"dvc.yaml has no stage {name!r}; it lists {', '.join(graph)}")
    with _workspace_lock(name):
        stage = Stage(name, params, graph[name], inputs_of(graph[name], cache=_digest_cache()), stopper)
        with _fingerprint_lock(stage):
            remove_tree(stage.staging)
            if _rank() > 0:
                main(stage)
            elif "RANK" in os.environ or not _take_parked(stage, receipt):  # its siblings are waiting for it
                _execute(stage, main, receipt, stopper)
    remove_tree(stage.staging)


def _execute(stage: Stage, main: Callable[[Stage], None], receipt: Receipt, stopper: Stopper) -> None:
    stage.start_record()
    assert stage.journal is not None
    receipt.key = stage.journal.key
    follower = Follower(stage.journal.key, parent=os.environ.get("SCRIPTORIUM_PARENT"))
    status = FAILED
    try:
        with _measured(stage):
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
            stage.journal.end(status)
        follower.finish(wait_s=STOPPED_WAIT_S if status == KILLED else FINAL_WAIT_S)
        receipt.run_id = sync.run_id_of(stage.journal.key)
    if edited:
        raise ValueError(
            f"{edited} changed while the stage ran: its result belongs to the old inputs, so it is kept aside and "
            "taken when the edit is undone; run again for the new inputs"
        )


def _publish(stage: Stage) -> str:
    """Move the outputs into place, or park them when inputs were edited in the meantime; returns which ones were."""
    missing = [out for out in stage.spec.outs if not (stage.staging / out).exists()]
    if missing:
        raise RuntimeError(f"the stage ended without writing {', '.join(missing)}")
    made = outputs_of(stage.spec, stage.staging)
    assert stage.journal is not None
    stage.journal.write("tags", values={"dvc.outputs": digest(made)})
    edited = _edited(stage)
    if edited:
        record = {"outputs": made, "key": stage.journal.key, "metrics": stage.metrics, "costs": stage.costs}
        outputs.park(stage.staging, paths.parked(stage.name, stage.fingerprint), record)
    else:
        outputs.publish(stage.spec.outs, stage.staging, Path())
    ledger.append({"stage": stage.name, "inputs": stage.fingerprint, "outputs": digest(made),
                   "key": stage.journal.key, "run_id": sync.run_id_of(stage.journal.key)})  # fmt: skip
    return edited


def _take_parked(stage: Stage, receipt: Receipt) -> bool:
    """Whether a result for these very inputs was waiting, and is now in place."""
    record = outputs.unpark(stage.spec, paths.parked(stage.name, stage.fingerprint), stage.staging)
    if record is None:
        return False
    outputs.publish(stage.spec.outs, stage.staging, Path())
    receipt.message = "taken from the result that was kept aside"
    receipt.key, receipt.run_id = record["key"], sync.run_id_of(record["key"])
    receipt.metrics, receipt.costs = record["metrics"], record["costs"]
    print(f"{stage.name}: {receipt.message}", flush=True)
    return True


def _edited(stage: Stage) -> str:
    """Which inputs differ from the start of the run, in words; empty when none does."""
    try:
        now = inputs_of(load_graph()[stage.name], cache=_digest_cache())
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
    trace = "".join(traceback.format_exception(error))
    log = paths.logs() / f"{name}.log"
    with suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as out:
            out.write(f"--- {time.strftime('%F %T')} process {os.getpid()}\n{trace}\n")
    if isinstance(error, KeyboardInterrupt):
        receipt.status, receipt.message = "stopped", "stopped"
        status = 143 if stopper.by_sigterm else 130
    else:
        receipt.status, receipt.kind, receipt.message = "failed", kind_of(error), message_of(error)
        status = 1
    hint = f" (a fault of the program; see {log}, or set SCRIPTORIUM_TRACEBACK=1)" if receipt.kind == "bug" else ""
    if os.environ.get("SCRIPTORIUM_TRACEBACK") == "1":
        print(trace, end="", file=sys.stderr)
    print(f"{name}: {receipt.message}{hint}", file=sys.stderr, flush=True)
    return status


@contextmanager
def _measured(stage: Stage) -> Iterator[None]:
    """Seconds, processor seconds and peak memory of the stage and its helpers, also when it fails."""
    began = time.monotonic()
    try:
        yield
    finally:
        own, helpers = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        unit = 1 if sys.platform == "darwin" else 1024
        with suppress(OSError):
            stage.log_costs({
                "seconds": time.monotonic() - began,
                "user_cpu_seconds": own.ru_utime + helpers.ru_utime,
                "peak_memory_bytes": max(own.ru_maxrss, helpers.ru_maxrss) * unit,
            })  # fmt: skip


def _workspace_lock(name: str) -> Any:
    """Two runs of a stage in one workspace would share the staging folder."""
    return nullcontext() if _rank() else hold(f"stage-{name}", waiting=_waiting(name), place=paths.staging(name).parent)


def _fingerprint_lock(stage: Stage) -> Any:
    """Two runs on the same inputs, in whatever workspace, would share checkpoints and journal."""
    return nullcontext() if _rank() else hold(f"{stage.name}-{stage.fingerprint}", waiting=_waiting(stage.name))


def _waiting(name: str) -> Callable[[str], None]:
    return lambda holder: print(f"{name}: waiting for {holder}, which runs this stage", file=sys.stderr, flush=True)


def _rank() -> int:
    """The number of this process under torchrun. Only the first one locks, records and publishes."""
    return int(os.environ.get("RANK", "0"))


def _digest_cache() -> Path:
    return paths.home() / "digests.db"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
