"""One stage, brought up to date by DVC: asked in this process first, then run as a supervised command.

`reproduce` knows no Prefect and can be called by anyone; `stage_task` makes the Prefect task of a stage from it. DVC
alone decides whether something runs (no caching by Prefect). What happened is told from the stage's receipt.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import paths, syntax
from pipeline.fingerprint import digest, inputs_of
from pipeline.graph import StageSpec, load_graph
from pipeline.locks import hold
from pipeline.receipt import Receipt, read_receipt
from pipeline.signals import grace_s
from tasks.command import End, run_supervised
from tasks.dvc_repo import Status, accept_comments, prune_checkpoints, statuses
from tasks.misrecorded import take_back

if TYPE_CHECKING:
    from prefect import Task
    from prefect.states import State

RAN, CACHED, RESTORED, ACCEPTED = "ran", "cached", "restored", "comments only"
GOOD = frozenset({RAN, CACHED, RESTORED, ACCEPTED})  # the outputs are those of the inputs
FAILED, STOPPED, NOT_REACHED = "failed", "stopped", "not reached"
RETRIES, RETRY_DELAY_S = 2, 5.0
SAVING_S = 3.0  # for the checkpoint of a stage that was interrupted in the middle of a step
AGAIN = "Again"  # the name of the state of a failure that may pass: the stage is tried once more
# what DVC says around a stage's own lines and nobody needs to see eight times
DVC_TALK = re.compile(
    r"\s*$|> |Running stage '|(Updating|Generating) lock file|To (track the changes|enable auto staging)|Use `dvc push`"
    r"|\t(git add|dvc config)|WARNING: '.*' is empty\.$"
)


@dataclass(frozen=True)
class Setting:
    """What all stages of one flow run share. `scratch` holds their receipts and progress files."""

    root: Path
    scratch: Path
    parent: str | None = None  # journal key of the flow's MLflow run
    time_limit_s: float | None = None  # for each stage
    time_limits_s: Mapping[str, float] = field(default_factory=dict)  # for those named, instead
    retries: Mapping[str, int] = field(default_factory=dict)  # of failures that may pass; RETRIES where not named
    grace_s: float = field(default_factory=lambda: grace_s() + SAVING_S)  # between asking a stage to end and killing it
    bars: bool = False  # somebody draws progress files; else stages print lines
    up_to_date: frozenset[str] = frozenset()  # the stages that DVC has just called so
    stop: threading.Event = field(default_factory=threading.Event)  # set: end everything

    def limit_s(self, stage: str) -> float | None:
        return self.time_limits_s.get(stage, self.time_limit_s)

    def receipt_file(self, stage: str) -> Path:
        return self.scratch / f"{stage}.receipt.json"

    def progress_file(self, stage: str) -> Path:
        return self.scratch / f"{stage}.progress.jsonl"


@dataclass(frozen=True)
class Outcome:
    """What became of a stage. `message`: one sentence for a person; `tail`: its last lines; `kind`: the receipt's."""

    stage: str
    what: str
    seconds: float = 0.0
    message: str = ""
    tail: tuple[str, ...] = ()
    kind: str | None = None
    receipt: Receipt | None = None

    @property
    def good(self) -> bool:
        return self.what in GOOD


def reproduce(stage: str, setting: Setting, log: Callable[[str], None] = print) -> Outcome:
    """Bring one stage up to date, its upstream stages being so. `log` gets the stage's lines as they come."""
    began = time.monotonic()

    def outcome(what: str, **more: Any) -> Outcome:
        return Outcome(stage, what, time.monotonic() - began, **more)

    if stage in setting.up_to_date:
        return outcome(CACHED)
    try:
        status = _settled_status(stage, setting, log)
        if setting.stop.is_set():
            return outcome(STOPPED)
        if status.busy is not None:
            return outcome(FAILED, message=f"waited {setting.limit_s(stage):g} s for another process: {status.busy}")
        if status.up_to_date:
            settle(setting.root, [stage])
            return outcome(CACHED)
        if status.comments and accept_comments(setting.root, stage):
            log(f"{stage}: {status.only_comments}: its outputs are taken as they are")
            settle(setting.root, [stage])
            return outcome(ACCEPTED)
        for reason in status.reasons:
            log(f"{stage}: {reason}")
        with _alone(stage, setting, log) as holder:
            if setting.stop.is_set():
                return outcome(STOPPED)
            if holder:
                return outcome(FAILED, message=f"waited {setting.limit_s(stage):g} s: {holder}")
            end = _run_dvc(stage, setting, log)
            receipt = read_receipt(setting.receipt_file(stage))
            if end.status == 0:
                if edited := take_back(setting.root, stage, receipt):
                    return outcome(FAILED, message=edited, kind="user", receipt=receipt)
                settle(setting.root, [stage])
    except ValueError as error:  # a broken dvc.yaml or params.yaml
        return outcome(FAILED, message=str(error), kind="user")
    if setting.stop.is_set() and end.status != 0:
        return outcome(STOPPED, receipt=receipt)
    if end.status == 0:
        return outcome(RAN if receipt is not None or end.executed else RESTORED, receipt=receipt)
    kind = receipt.kind if receipt is not None and receipt.status == "failed" and not end.timed_out else None
    return outcome(FAILED, message=_sentence(stage, end, receipt, setting), tail=end.tail, kind=kind, receipt=receipt)


def stage_task(spec: StageSpec, setting: Setting, outcomes: dict[str, Outcome]) -> Task[..., Any]:
    """The Prefect task of a stage; only transient failures are tried again. The final outcome is left in `outcomes`."""
    from prefect import get_run_logger, task
    from prefect.cache_policies import NO_CACHE
    from prefect.states import Cancelled, Completed, Failed

    tries = itertools.count(1)
    retries = setting.retries.get(spec.name, RETRIES)

    def may_pass(_task: object, _run: object, state: State[Any]) -> bool:
        return state.name == AGAIN

    @task(
        name=spec.name,
        task_run_name=spec.name,
        description=f"DVC stage {spec.name}: {spec.cmd}",
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=retries,
        retry_delay_seconds=RETRY_DELAY_S,
        retry_condition_fn=may_pass,
    )
    def run_stage() -> Any:
        result = reproduce(spec.name, setting, get_run_logger().info)
        failure = "\n".join([result.message, *result.tail])
        if result.kind == "transient" and next(tries) <= retries and not setting.stop.is_set():
            return Failed(name=AGAIN, message=failure)
        outcomes[spec.name] = result
        if result.what == STOPPED:
            return Cancelled(message="the flow was stopped")
        if result.what == FAILED:
            return Failed(message=failure)
        name = {CACHED: "Cached", RESTORED: "Restored", ACCEPTED: "CommentsOnly"}.get(result.what)
        return Completed(name=name, message=f"{result.what} ({result.seconds:.1f} s)")

    return run_stage


def settle(root: Path, stages: Sequence[str]) -> None:
    """What is done once dvc.lock names the outputs: checkpoints go, and the code's versions are noted."""
    prune_checkpoints(root, stages)
    graph = load_graph(root)
    deps = sorted({dep for stage in stages for dep in graph[stage].deps})
    syntax.remember(path for dep in deps if (path := root / dep).is_file())


def _settled_status(stage: str, setting: Setting, log: Callable[[str], None]) -> Status:
    """The stage's status once no other process works on its files; still busy when stopped or out of time."""
    deadline = _deadline(stage, setting)
    said = ""
    while (status := statuses(setting.root, [stage])[stage]).busy is not None:
        if status.busy != said:
            log(f"waiting: {status.busy}")
            said = status.busy
        if setting.stop.wait(1.0) or time.monotonic() > deadline:
            break
    return status


@contextmanager
def _alone(stage: str, setting: Setting, log: Callable[[str], None]) -> Iterator[str]:
    """Hold the lock of these very inputs, which all workspaces of a home share; gives who has it when time is up.

    Who waits for it asks DVC only afterwards, and so finds the result in the run cache of a shared cache. (The lock of
    the stage itself comes too late for that: by then DVC has decided to run.)
    """
    deadline, said = _deadline(stage, setting), False
    with ExitStack() as held:
        name = _inputs_lock(stage, setting.root)
        while name is not None:
            try:
                held.enter_context(hold(name, timeout_s=0))
                break
            except TimeoutError as error:
                if not said:
                    log(f"{stage}: waiting: {error}")
                    said = True
                if setting.stop.wait(0.2) or time.monotonic() > deadline:
                    yield str(error)
                    return
        yield ""


def _inputs_lock(stage: str, root: Path) -> str | None:
    """The lock's name; None while an input is missing, of which DVC will tell."""
    with suppress(ValueError, KeyError):
        return f"reproduce-{stage}-{digest(inputs_of(load_graph(root)[stage], root, cache=paths.digests()))}"
    return None


def _deadline(stage: str, setting: Setting) -> float:
    limit_s = setting.limit_s(stage)
    return time.monotonic() + limit_s if limit_s is not None else float("inf")


@dataclass(frozen=True)
class _End:
    """How the supervised command ended: exit status, its last lines, whether DVC started the stage's own command."""

    status: int
    tail: tuple[str, ...]
    executed: bool
    timed_out: bool


def _run_dvc(stage: str, setting: Setting, log: Callable[[str], None]) -> _End:
    setting.scratch.mkdir(parents=True, exist_ok=True)
    for file in (setting.receipt_file(stage), setting.progress_file(stage)):
        file.unlink(missing_ok=True)
    dvc = [sys.executable, "-P", "-m", "dvc", "--wait-for-lock", "repro", "--single-item", stage]
    executed = False

    def hear(line: str) -> bool:
        nonlocal executed
        executed |= line.startswith(f"Running stage '{stage}'")
        return not DVC_TALK.match(line)

    end: End = run_supervised(
        dvc,
        folder=setting.root,
        environment=_environment(stage, setting),
        stop=setting.stop,
        deadline=_deadline(stage, setting),
        grace_s=setting.grace_s,
        log=log,
        worth_a_line=hear,
    )
    return _End(end.status, end.tail, executed, end.timed_out)


def _environment(stage: str, setting: Setting) -> dict[str, str]:
    environment = dict(os.environ)
    environment.pop("MLFLOW_RUN_ID", None)  # it would make MLflow ignore the parent run
    handed = {"SCRIPTORIUM_PARENT": setting.parent}
    handed["SCRIPTORIUM_PROGRESS"] = str(setting.progress_file(stage).absolute()) if setting.bars else None
    for name, value in handed.items():
        environment.pop(name, None)
        environment |= {name: value} if value is not None else {}
    return environment | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "DVC_NO_ANALYTICS": "1",
        "SCRIPTORIUM_HOME": str(paths.home()),
        "SCRIPTORIUM_RECEIPT": str(setting.receipt_file(stage).absolute()),
    }


def _sentence(stage: str, end: _End, receipt: Receipt | None, setting: Setting) -> str:
    """Why the stage failed, in one sentence: the limit, else the receipt's, else the last line that says something."""
    if end.timed_out:
        return f"not finished within its time limit of {setting.limit_s(stage):g} s: stopped (checkpoints are kept)"
    if receipt is not None and receipt.status == "failed" and receipt.message:
        return receipt.message
    said = [line for line in end.tail if not line.startswith("ERROR: failed to reproduce")]
    last = (said or list(end.tail) or [f"the command ended with status {end.status} and said nothing"])[-1]
    return last.removeprefix("ERROR: ").removeprefix(f"{stage}: ").strip()


def not_reached(graph: Mapping[str, StageSpec], outcomes: dict[str, Outcome]) -> None:
    """Give every stage without an outcome one that says which failed stage it waited for."""
    for name, spec in graph.items():
        if name not in outcomes:
            cause = [other for other in spec.upstream if other in outcomes and not outcomes[other].good]
            outcomes[name] = Outcome(name, NOT_REACHED, message=f"needs {' and '.join(cause)}" if cause else "")
