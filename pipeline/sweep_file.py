"""A sweep as its file describes it: which parameters are tried, how they are chosen, and what decides.

    python -m flows.sweep conf/sweep/learning_rate.yaml

Read strictly, and checked against params.yaml, its schema and dvc.yaml before anything runs: whatever a trial could not
do is one sentence here. What decides is a validation metric; test data are reported, never chosen on.
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from pipeline.graph import PARAMS_FILE, StageSpec, load_graph, select
from pipeline.params import check_params, leaves, plain, problems, read_yaml
from pipeline.schema import Params, Section, described

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
COMBINATIONS_CHECKED = 500


class Range(Section):
    """Numbers from `low` to `high`, both included; whole ones where the parameter is a whole number."""

    low: Annotated[float, described("the lowest value")]
    high: Annotated[float, described("the highest value")]
    log: Annotated[bool, described("draw from the logarithm's range, as for learning rates")] = False
    step: Annotated[float | None, Field(gt=0, description="only low, low + step, low + 2 step, …; not with log")] = None


class Objective(Section):
    stage: Annotated[str, Field(min_length=1, description="whose metrics.json decides")]
    metric: Annotated[str, Field(min_length=1, description="a dotted path in it; must be a validation metric")]
    direction: Annotated[Literal["minimize", "maximize"], described("which way is better")]


class Pruner(Section):
    """Ends a trial early that does worse than the others did at the same step of training."""

    kind: Annotated[Literal["median", "halving"], described("worse than the median; or successive halving")]
    metric: Annotated[str, Field(min_length=1, description="what the objective's stage reports at each evaluation")]
    warmup_steps: Annotated[int, described("nothing is ended before this optimizer step", ge=0)] = 0
    startup_trials: Annotated[int, described("median: so many trials end first", ge=1)] = 3
    reduction_factor: Annotated[int, described("halving: one in so many goes on at each rung", ge=2)] = 3


class SweepFile(Section):
    """The file as it is written; `load_sweep` checks it against the workspace."""

    sampler: Annotated[Literal["grid", "random", "tpe", "qmc"], described("grid: every combination, in order")]
    seed: Annotated[int, described("of the sampler: the same seed draws the same trials", ge=0, lt=2**63)]
    trials: Annotated[int | None, Field(ge=1, description="how many at most; null: the whole grid")] = None
    parameters: Annotated[dict[str, Any], Field(min_length=1, description="leaf → list of choices, or a range")]
    objective: Objective
    stages: Annotated[list[str], described("to reach in each trial besides the objective's")] = []  # noqa: RUF012
    parallel: Annotated[int, described("trials at once", ge=1, le=1_024)] = 1
    runner: Annotated[
        Literal["threads", "processes", "dask", "ray"], described("where trials are started from: Prefect's runners")
    ] = "threads"
    address: Annotated[str | None, described("of a running Dask or Ray cluster; null: a local one")] = None
    pruner: Annotated[Pruner | None, described("ends bad trials early; null: none is")] = None
    apply: Annotated[bool, described("put the best trial into the workspace at the end")] = False


class Sweep(BaseModel):
    """A checked sweep: plain data, so that it can be handed to another process."""

    name: str
    file: SweepFile
    parameters: dict[str, list[Any] | Range]
    whole: list[str]  # the ranges' leaves that are whole numbers
    stages: list[str]  # all that a trial brings up to date, in order
    trials: int

    def described(self) -> dict[str, Any]:
        """What may not change between the start of a sweep and its going on."""
        kept = self.file.model_dump(include={"sampler", "seed", "parameters", "objective", "pruner"})
        return kept | {"stages": self.stages}


def load_sweep(file: Path, root: Path = Path()) -> Sweep:
    """The sweep in a file, whose name becomes the sweep's. ValueError says what is wrong, and what is allowed."""
    name = file.stem
    if not NAME.fullmatch(name):
        raise ValueError(f"{file}: a sweep is called like its file: allowed are letters, digits, - and _")
    tree = plain(read_yaml(file))
    try:
        found = SweepFile.model_validate(tree)
    except ValidationError as error:
        raise ValueError("\n".join(f"{file}: {problem}" for problem in problems(error))) from None
    base = plain(read_yaml(root / PARAMS_FILE))
    check_params(base, str(root / PARAMS_FILE))
    graph = load_graph(root)
    try:
        _check_metric("objective", found.objective.metric)
        if found.pruner is not None:
            _check_metric("pruner", found.pruner.metric)
            _check_pruner(found.pruner, found.objective)
        chosen = select(graph, [*found.stages, found.objective.stage])
        _check_objective(found.objective, graph[found.objective.stage], root)
        parameters = {leaf: _values(leaf, value, base, found.sampler) for leaf, value in found.parameters.items()}
        for leaf in parameters:
            _check_is_read(leaf, chosen)
        trials = _count(found, parameters)
        _check_combinations(parameters, base)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    whole = [leaf for leaf, value in parameters.items() if isinstance(value, Range) and _number_type(leaf) is int]
    return Sweep(name=name, file=found, parameters=parameters, whole=whole, stages=list(chosen), trials=trials)


def combinations(parameters: Mapping[str, Sequence[Any] | Range]) -> Iterator[dict[str, Any]]:
    """Every combination of the choices, the last parameter changing fastest; of a range its two ends."""
    ends = [[value.low, value.high] if isinstance(value, Range) else value for value in parameters.values()]
    for values in itertools.product(*ends):
        yield dict(zip(parameters, values, strict=True))


def with_values(tree: Any, values: Mapping[str, Any]) -> Any:
    """Set leaves in a tree of parameters, in place; returns it."""
    for leaf, value in values.items():
        *sections, last = leaf.split(".")
        place = tree
        for section in sections:
            place = place[section]
        place[last] = value
    return tree


def _check_metric(what: str, metric: str) -> None:
    words = re.split(r"[^a-z]+", metric.lower())
    if "test" in words:
        raise ValueError(
            f"{what}.metric {metric} speaks of the test part: a sweep chooses on validation data, so that the test "
            "stays a report on data that nothing was chosen on"
        )
    if "validation" not in words:
        raise ValueError(f"{what}.metric {metric} must be a validation metric: its name has to say validation")


def _check_pruner(pruner: Pruner, objective: Objective) -> None:
    if objective.direction == "maximize" and "loss" in pruner.metric:
        raise ValueError(
            f"pruner.metric {pruner.metric} is better when lower, but the sweep maximizes: "
            "prune on what the objective is, or choose a loss as the objective"
        )


def _check_objective(objective: Objective, spec: StageSpec, root: Path) -> None:
    """The stage has a metrics.json; the metric is in it, as far as one is there from an earlier run."""
    file = metrics_file(spec)
    if (root / file).is_file():
        known = leaves(plain(read_yaml(root / file)))
        if objective.metric not in known:
            named = [name for name in known if "validation" in name]
            close = difflib.get_close_matches(objective.metric, named, n=1)
            hint = f"did you mean {close[0]}?" if close else f"its validation metrics are {', '.join(named) or 'none'}"
            raise ValueError(f"objective.metric {objective.metric} is not in {file}: {hint}")


def metrics_file(spec: StageSpec) -> str:
    """The path of the stage's metrics.json; ValueError when it has none."""
    file = next((out for out in spec.outs if Path(out).name == "metrics.json"), None)
    if file is None:
        raise ValueError(f"objective.stage {spec.name} has no metrics.json in dvc.yaml")
    return file


def _values(leaf: str, value: Any, base: Mapping[str, Any], sampler: str) -> list[Any] | Range:
    """The choices or the range of a leaf, each end or choice held against the schema."""
    known = leaves(base)
    if leaf not in known:
        close = difflib.get_close_matches(leaf, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"parameters.{leaf} is no leaf of {PARAMS_FILE}{hint}")
    if isinstance(value, list):
        if not value or any(one == other for one, other in itertools.combinations(value, 2)):
            raise ValueError(f"parameters.{leaf} is {value}: choices must be one or more, each once")
        _check_leaf(leaf, value, base)
        return value
    if not isinstance(value, dict):
        raise ValueError(f"parameters.{leaf} is {value!r}: allowed are a list of choices, or low and high")
    try:
        found = Range.model_validate(value)
    except ValidationError as error:
        raise ValueError(f"parameters.{leaf}.{problems(error)[0]}") from None
    if sampler == "grid":
        raise ValueError(f"parameters.{leaf} is a range: the sampler grid needs a list of choices")
    return _checked_range(leaf, found, base)


def _checked_range(leaf: str, found: Range, base: Mapping[str, Any]) -> Range:
    kind = _number_type(leaf)
    if kind is None:
        raise ValueError(f"parameters.{leaf} is no number: give a list of choices")
    if not (math.isfinite(found.low) and math.isfinite(found.high) and found.low < found.high):
        raise ValueError(f"parameters.{leaf}: low {found.low:g} must be less than high {found.high:g}")
    if found.log and found.low <= 0:
        raise ValueError(f"parameters.{leaf}: log needs a low above 0, not {found.low:g}")
    if found.log and found.step is not None:
        raise ValueError(f"parameters.{leaf}: log and step exclude each other")
    numbers = (found.low, found.high, found.step or 1)
    if kind is int and not all(float(number).is_integer() for number in numbers):
        raise ValueError(f"parameters.{leaf} is a whole number: low, high and step must be, too")
    _check_leaf(leaf, [kind(found.low), kind(found.high)], base)
    return found


def _check_leaf(leaf: str, values: Sequence[Any], base: Mapping[str, Any]) -> None:
    """Each value alone against the schema's type and bounds; rules between leaves are for whole combinations."""
    for value in values:
        try:
            Params.model_validate(with_values(plain(base), {leaf: value}))
        except ValidationError as error:
            path = tuple(leaf.split("."))
            own = [item for item in error.errors() if item["loc"][: len(path)] == path]
            if own:
                text = own[0]["msg"]
                raise ValueError(f"parameters.{leaf} has {value!r}: {text[0].lower()}{text[1:]}") from None


def _check_combinations(parameters: Mapping[str, list[Any] | Range], base: Mapping[str, Any]) -> None:
    """The rules between leaves: for all choices with each other and with the ranges' ends, as far as they are few."""
    for values in itertools.islice(combinations(parameters), COMBINATIONS_CHECKED):
        typed = {leaf: int(value) if _number_type(leaf) is int else value for leaf, value in values.items()}
        told = ", ".join(f"{leaf}={value}" for leaf, value in typed.items())
        check_params(with_values(plain(base), typed), f"a trial with {told} would be refused")


def _check_is_read(leaf: str, chosen: Mapping[str, StageSpec]) -> None:
    for spec in chosen.values():
        if any(leaf == name or leaf.startswith(name + ".") or name in ("", f"{PARAMS_FILE}:") for name in spec.params):
            return
    raise ValueError(f"parameters.{leaf} is read by none of the stages {', '.join(chosen)}: every trial would be alike")


def _count(found: SweepFile, parameters: Mapping[str, list[Any] | Range]) -> int:
    if found.sampler == "grid":
        size = math.prod(len(value) for value in parameters.values() if isinstance(value, list))
        return min(size, found.trials or size)
    if found.trials is None:
        raise ValueError(f"trials is missing: the sampler {found.sampler} has no end of its own")
    return found.trials


def _number_type(leaf: str) -> type[int] | type[float] | None:
    """int or float, as the schema has it for a leaf (also where null is allowed); None for all else."""
    kind: Any = Params
    for part in leaf.split("."):
        if not (isinstance(kind, type) and issubclass(kind, BaseModel) and part in kind.model_fields):
            return None
        kind = kind.model_fields[part].annotation
    members = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    return next((number for number in (int, float) if number in members), None)
