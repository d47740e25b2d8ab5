"""What a sweep has tried and tries next: Optuna, seen from the flow, which alone talks to it.

The study is an SQLite file beside the trials; Optuna writes numbers, texts and JSON there, and no pickle. Each trial's
values are a function of the file's seed, the trial's number and what the trials before it came to, so that a sweep
which was killed draws what it would have drawn.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.sweep_file import Pruner, Range, Sweep, combinations

try:
    import optuna
    from optuna.trial import FrozenTrial, TrialState
except ImportError:
    raise ValueError(
        "a sweep needs Optuna: `make sweep` installs it, or pip install --no-deps -r requirements-sweep.lock"
    ) from None


@dataclass(frozen=True)
class Tried:
    """A trial as the study has it: complete, pruned, failed or running; `last_step` is of its last evaluation."""

    number: int
    values: Mapping[str, Any]
    state: str
    value: float | None
    last_step: int | None


class Study:
    """The trials of a sweep. One process uses it at a time: the flow holds a lock."""

    def __init__(self, sweep: Sweep, folder: Path) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.sweep = sweep
        self.optuna = optuna.create_study(
            storage=f"sqlite:///{(folder / 'study.db').absolute()}",
            study_name=sweep.name,
            direction=sweep.file.objective.direction,
            pruner=pruner_of(sweep.file.pruner),
            load_if_exists=True,
        )
        self._drop_half_drawn()

    def ask(self) -> Tried | None:
        """The next trial; None when there are as many as there shall be."""
        known = [trial for trial in self.optuna.get_trials(deepcopy=False) if not self._half_drawn(trial)]
        waiting = any(trial.state == TrialState.WAITING for trial in known)
        if len(known) >= self.sweep.trials and not waiting:
            return None
        number = len(self.optuna.get_trials(deepcopy=False)) - waiting
        self.optuna.sampler = _sampler(self.sweep, number)
        if self.sweep.file.sampler == "grid" and not waiting:
            done = {trial.user_attrs["combination"] for trial in known}
            choices = itertools.islice(combinations(self.sweep.parameters), self.sweep.trials)
            place, values = next((place, values) for place, values in enumerate(choices) if place not in done)
            encoded = {leaf: self._encoded(value) for leaf, value in values.items()}
            self.optuna.enqueue_trial(encoded, user_attrs={"combination": place})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of experimental parts, and of quasi-random draws after the first
            trial = self.optuna.ask()
            for leaf, value in self.sweep.parameters.items():
                self._draw(trial, leaf, value)
        return self._tried(trial.number)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to try, and nothing to try again."""
        known = [trial for trial in self.optuna.get_trials(deepcopy=False) if not self._half_drawn(trial)]
        return len(known) >= self.sweep.trials and all(trial.state.is_finished() for trial in known)

    def trials(self) -> list[Tried]:
        """All trials that were begun, by number."""
        frozen = self.optuna.get_trials(deepcopy=False)
        shown = [trial for trial in frozen if trial.state != TrialState.WAITING and not self._half_drawn(trial)]
        return [self._tried(trial.number) for trial in shown]

    def best(self) -> Tried | None:
        done = [trial for trial in self.trials() if trial.value is not None and trial.state == "complete"]
        pick = min if self.sweep.file.objective.direction == "minimize" else max
        return pick(done, key=lambda trial: trial.value) if done else None  # type: ignore[arg-type,return-value]

    def report(self, number: int, step: int, value: float) -> bool:
        """What a trial's training measured after a step; whether the trial should end now."""
        frozen = self._frozen(number)
        trial = optuna.trial.Trial(self.optuna, frozen._trial_id)
        if step not in frozen.intermediate_values:
            trial.report(value, step)
        return bool(trial.should_prune())

    def complete(self, number: int, value: float) -> None:
        self.optuna.tell(number, value)

    def prune(self, number: int) -> None:
        self.optuna.tell(number, state=TrialState.PRUNED)

    def fail(self, number: int) -> None:
        self.optuna.tell(number, state=TrialState.FAIL)

    def _draw(self, trial: Any, leaf: str, value: list[Any] | Range) -> None:
        if not isinstance(value, Range):
            trial.suggest_categorical(leaf, [self._encoded(choice) for choice in value])
        elif leaf in self.sweep.whole:
            trial.suggest_int(leaf, int(value.low), int(value.high), step=int(value.step or 1), log=value.log)
        else:
            trial.suggest_float(leaf, value.low, value.high, step=value.step, log=value.log)

    def _encoded(self, choice: Any) -> Any:
        """Lists and mappings are choices as JSON: Optuna keeps words and numbers."""
        return json.dumps(choice, sort_keys=True) if isinstance(choice, list | dict) else choice

    def _decoded(self, leaf: str, value: Any) -> Any:
        choices = self.sweep.parameters[leaf]
        if isinstance(choices, Range):
            return value
        return next(choice for choice in choices if self._encoded(choice) == value)

    def _tried(self, number: int) -> Tried:
        trial = self._frozen(number)
        values = {leaf: self._decoded(leaf, trial.params[leaf]) for leaf in self.sweep.parameters}
        state = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
        return Tried(number, values, state.get(trial.state, "running"), trial.value, trial.last_step)

    def _frozen(self, number: int) -> FrozenTrial:
        return self.optuna.get_trials(deepcopy=False)[number]

    def _drop_half_drawn(self) -> None:
        """A kill while values were being drawn left a trial without some: it never began, another takes its place."""
        for trial in self.optuna.get_trials(deepcopy=False):
            if trial.state == TrialState.RUNNING and set(trial.params) != set(self.sweep.parameters):
                self.optuna.tell(trial.number, state=TrialState.FAIL)

    def _half_drawn(self, trial: FrozenTrial) -> bool:
        return trial.state == TrialState.FAIL and set(trial.params) != set(self.sweep.parameters)


def _sampler(sweep: Sweep, number: int) -> optuna.samplers.BaseSampler:
    """A fresh one for each trial: what it draws follows from its seed, not from how often this process asked."""
    seed = int.from_bytes(hashlib.blake2b(f"{sweep.file.seed}:{number}".encode(), digest_size=4).digest())
    free = optuna.samplers.RandomSampler(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if sweep.file.sampler == "tpe":
            startup = min(10, max(2, sweep.trials // 3))
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
        if sweep.file.sampler == "qmc":
            own = sweep.file.seed % 2**32
            return optuna.samplers.QMCSampler(scramble=True, seed=own, independent_sampler=free)
    return free


def pruner_of(pruner: Pruner | None) -> optuna.pruners.BasePruner:
    if pruner is None:
        return optuna.pruners.NopPruner()
    if pruner.kind == "median":
        return optuna.pruners.MedianPruner(pruner.startup_trials, pruner.warmup_steps)
    return optuna.pruners.SuccessiveHalvingPruner(max(1, pruner.warmup_steps), pruner.reduction_factor)
