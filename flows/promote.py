"""The promotion flow: registers what the workspace holds, and makes it champion where the gate lets it.

    python -m flows.promote [MODEL …] [--again]          (make promote MODEL=scriptorium-assistant)
    python -m flows.promote --rollback MODEL             (make rollback MODEL=…)

A new version becomes `challenger`. It becomes `champion` if the guards hold and it is better than the present one by
more than noise, on the same validation items. Either way the reasons are kept: as tags of the version, as an artifact
of its MLflow run, as Prefect's table, and printed.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from flows import services

services.configure()  # before Prefect reads its settings

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed, State

from flows.notify import tell
from flows.session import prefect_server
from pipeline.locks import hold
from pipeline.params import load_params
from pipeline.replay import markdown_table
from tasks import registry, validation
from tasks.gate import Decision, decide, guards_of
from tasks.registry import CHALLENGER, CHAMPION, NAMES, Version

LOCKED_FOR_S = 600.0
ERROR = "error: "  # how a line begins that tells of one
PROMOTED, REFUSED, KEPT, FAILED = "promoted", "refused", "champion already", "failed"


@dataclass(frozen=True)
class Outcome:
    """What happened to a model: its version, the champion before, what the gate said."""

    model: str
    version: int | None
    what: str
    why: str
    before: int | None = None


@flow(name="promote", log_prints=True, persist_result=False, on_failure=[tell], on_crashed=[tell])
def promote(models: list[str] | None = None, again: bool = False) -> Any:
    """Register the workspace's models (default: all) and let the gate decide on each.

    again: also consider a version that was rolled back.
    """
    outcomes = []
    for name in models or NAMES:
        state = consider.with_options(task_run_name=f"promote {name}")(name, again, return_state=True)
        failed = Outcome(name, None, FAILED, str(state.message))
        outcomes.append(cast(Outcome, state.result()) if state.is_completed() else failed)
    rows = [asdict(outcome) for outcome in outcomes]
    create_table_artifact(rows, key="scriptorium-promotion", description="What the gate decided, and why")
    told = "\n".join(in_words(outcome) for outcome in outcomes)
    broken = any(outcome.what == FAILED for outcome in outcomes)
    return Failed(message=told) if broken else Completed(message=told)


@task(name="consider", cache_policy=NO_CACHE, persist_result=False)
def consider(name: str, again: bool) -> Any:
    """Register one model and put it before the gate; a failure says why in one sentence."""
    try:
        return promote_one(Path.cwd(), name, again)
    except (ValueError, TimeoutError) as error:
        return Failed(message=str(error))


def promote_one(root: Path, name: str, again: bool = False) -> Outcome:
    """One model, without Prefect. ValueError: not up to date, not in MLflow, or not to be scored."""
    params = load_params(root / "params.yaml")
    full = registry.full_name(name)
    with hold(f"promote-{full}", timeout_s=LOCKED_FOR_S):
        model = registry.current(root, full, params)
        version = registry.register(root, model)
        champion = registry.with_alias(full, CHAMPION)
        if champion is not None and champion.number == version.number:
            return Outcome(full, version.number, KEPT, "the workspace holds the champion's bytes", version.number)
        validation.keep_stage_scores(root, version, model)
        registry.set_alias(version, CHALLENGER)
        if (to := version.tags.get("gate.rolled_back")) and not again:
            why = f"it was rolled back {to}: --again considers it once more"
            return Outcome(full, version.number, REFUSED, why, champion.number if champion else None)
        decision, source = _judge(root, version, champion)
        _tell(version, champion, decision, source)
        if decision.promoted:
            registry.crown(version, registry.history(full))
    before = champion.number if champion else None
    return Outcome(full, version.number, PROMOTED if decision.promoted else REFUSED, decision.why, before)


def _judge(root: Path, version: Version, champion: Version | None) -> tuple[Decision, str]:
    """The gate's decision, and where the scores come from."""
    params = load_params(root / "params.yaml")
    metrics = json.loads((root / "reports/evaluate/metrics.json").read_text(encoding="utf-8"))
    guards = guards_of(version.short, version.kind, metrics, params)
    if champion is None:
        return decide(version.kind, guards, [], None, params.promote, params.seed), "the reports"
    own, others, source = validation.scores(root, version, champion)
    return decide(version.kind, guards, own, others, params.promote, params.seed), source


def _tell(version: Version, champion: Version | None, decision: Decision, source: str) -> None:
    """The decision as tags of the version and as an artifact of its run."""
    tags: dict[str, object] = {"gate.decision": PROMOTED if decision.promoted else REFUSED, "gate.why": decision.why}
    tags |= {"gate.champion": champion.number if champion else "none", "gate.scores": source}
    tags |= {f"gate.guard.{number}": guard for number, guard in enumerate(decision.guards, 1)}
    rows = [{"condition": guard.what, "holds": "yes" if guard.holds else "no"} for guard in decision.guards]
    text = f"# {version}: {tags['gate.decision']}\n\n{decision.why}\n\n{markdown_table(rows)}\n"
    if decision.difference is not None:
        numbers = [{"number": key, "value": value} for key, value in asdict(decision.difference).items()]
        text += f"\nBeside version {tags['gate.champion']}, {source}:\n\n{markdown_table(numbers)}\n"
    with registry.told():
        registry.set_tags(version, tags)
        file = f"gate/{version.short}-{version.number}-beside-{tags['gate.champion']}.md"
        registry.registry().client.log_text(version.run_id, text, file)


def in_words(outcome: Outcome) -> str:
    """ "scriptorium-assistant version 3 promoted, in place of version 2: validation exact match 0.8 → 0.9, …"."""
    if outcome.what == FAILED:
        return f"{ERROR}{outcome.model}: {outcome.why}"
    which = f"{outcome.model} version {outcome.version}" if outcome.version else outcome.model
    before = f", in place of version {outcome.before}" if outcome.what == PROMOTED and outcome.before else ""
    return f"{which} {outcome.what}{before}: {outcome.why}"


def main(arguments: list[str]) -> int:
    """0: decided, either way; 1: something is wrong, in one sentence a model; 130: stopped."""
    parser = argparse.ArgumentParser(prog="python -m flows.promote", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--again", action="store_true", help="also consider a version that was rolled back")
    parser.add_argument("--rollback", action="store_true", help="make the champion before this one champion again")
    options = parser.parse_args(arguments)
    try:
        models = [registry.full_name(name) for name in options.models]
        if options.rollback:
            if len(models) != 1:
                raise ValueError(f"a rollback takes one model: allowed are {', '.join(NAMES)}")
            with hold(f"promote-{models[0]}", timeout_s=LOCKED_FOR_S):
                going, back = registry.rollback(models[0])
            print(f"{back} is champion again, in place of version {going.number}")
            return 0
        load_params()
        return _run(models or None, options.again)
    except (ValueError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped")
        return 130


def _run(models: list[str] | None, again: bool) -> int:
    """The flow against our Prefect server; what it decided on each model, a line each."""
    with prefect_server():
        state = cast("State[Any]", promote(models, again, return_state=True))
    for line in str(state.message).splitlines():
        print(line, file=sys.stderr if line.startswith(ERROR) else sys.stdout)
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
