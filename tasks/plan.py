"""What a run would do, and why, before it does anything. Needs no Prefect: `make plan` answers within two seconds.

A stage that DVC holds to be up to date is still only "cached" when nothing before it runs: behind a stage that runs it
"may run", since its inputs may come out the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.graph import StageSpec, load_graph, overlap, select, waves
from tasks.dvc_repo import Status, statuses

RUN, RESTORE, MAY_RUN, COMMENTS, CACHED = "run", "restore", "may run", "comments only", "cached"


@dataclass(frozen=True)
class PlannedStage:
    """`reasons` say in words why there is something to do.

    `action` is "run", "restore" (from DVC's run cache), "may run", "comments only" (nothing runs: the flow takes the
    outputs as they are) or "cached".
    """

    spec: StageSpec
    action: str
    reasons: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def settled(self) -> bool:
        """Its outputs stay what they are."""
        return self.action in (COMMENTS, CACHED)


@dataclass(frozen=True)
class Plan:
    """The stages in the order in which they can run; the members of a wave can run side by side."""

    stages: tuple[PlannedStage, ...]
    waves: tuple[tuple[str, ...], ...]

    @property
    def nothing_to_do(self) -> bool:
        return all(stage.settled for stage in self.stages)

    @property
    def up_to_date(self) -> frozenset[str]:
        """The stages that DVC holds to be so, with nothing before them that runs."""
        return frozenset(stage.name for stage in self.stages if stage.action == CACHED)

    def __str__(self) -> str:
        """A line a stage, further reasons below it."""
        wide = max((len(stage.name) for stage in self.stages), default=0)
        beside = max((len(stage.action) for stage in self.stages if len(stage.action) > 7), default=7)
        lines = []
        for stage in self.stages:
            first, *others = stage.reasons or ("up to date",)
            lines.append(f"{stage.name:{wide}}  {stage.action:{beside}}  {first}")
            lines += [f"{'':{wide}}  {'':{beside}}  {reason}" for reason in others]
        return "\n".join(lines)


def make_plan(root: Path, targets: Sequence[str] | None = None) -> Plan:
    """The plan for the targets and all that they need (None: every stage). ValueError: unknown stage or bad file."""
    graph = select(load_graph(root), targets)
    found = statuses(root, list(graph))
    planned: dict[str, PlannedStage] = {}
    for name, spec in graph.items():
        before = [planned[other] for other in spec.upstream if not planned[other].settled]
        planned[name] = _planned(spec, found[name], before)
    return Plan(tuple(planned.values()), tuple(map(tuple, waves(graph))))


def _planned(spec: StageSpec, status: Status, before: Sequence[PlannedStage]) -> PlannedStage:
    if status.busy is not None:
        return PlannedStage(spec, MAY_RUN, (f"another process is working on it: {status.busy}",))
    own = tuple(reason for reason in status.reasons if not _explained(reason, spec, before))
    restorable = status.restorable and all(stage.action == RESTORE for stage in before)
    if before and not own:
        names = " and ".join(stage.name for stage in before)
        return PlannedStage(spec, RESTORE if restorable else MAY_RUN, (f"its inputs come from {names}",))
    if not own:
        return PlannedStage(spec, CACHED)
    if status.comments and not before:
        return PlannedStage(spec, COMMENTS, (status.only_comments,))
    return PlannedStage(spec, RESTORE if restorable else RUN, own)


def _explained(reason: str, spec: StageSpec, before: Sequence[PlannedStage]) -> bool:
    """Whether a reason only repeats that an earlier stage has to run: its output is missing or changed now."""
    made = [dep for dep in spec.deps for stage in before for out in stage.spec.outs if overlap(dep, out)]
    return any(reason in (f"{dep} changed", f"{dep} is missing") for dep in made)
