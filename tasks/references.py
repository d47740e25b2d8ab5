"""From what a person writes to the results it stands for: `resolve(root, "workspace")`, `resolve(root, "HEAD~1")`, …

workspace                                  what lies here, as dvc.lock has it
a git revision                             a commit that holds a dvc.lock; its files come from DVC's cache
a DVC experiment                           by its name
an MLflow run                              of a stage, or of a whole flow: its id, or 8 characters and more of it
models:/NAME/3  models:/NAME@champion      a registered model's version, or the one with an alias (also NAME@champion)

A run's lineage is put together from DVC's run cache, by the digests in its tags: what it was made from, stage by stage,
and what was made from it last. Where that cache has nothing (another computer's run), what MLflow was told must do.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from pipeline import ledger, paths, tracking
from pipeline.fingerprint import digest, locked_inputs, locked_outputs
from pipeline.graph import PARAMS_FILE, StageSpec, load_graph
from pipeline.store import Store, store, tracking_uri
from tasks.dvc_repo import cached_object, experiments, lock_entries, recorded_runs
from tasks.lock_file import parse_lock
from tasks.results import Artifacts, Cache, Entry, Place, Result, Workspace

WORKSPACE = "workspace"
RUN_ID = re.compile(r"(?:runs:/)?([0-9a-f]{8,32})")
VERSION = re.compile(r"models:/([^/@]+)/(\d+)")
ALIAS = re.compile(r"(?:models:/)?([^/@]+)@([A-Za-z][\w-]*)")
ALLOWED = (
    "allowed are `workspace`, a git revision, a DVC experiment, an MLflow run's id (8 characters and more), "
    "models:/NAME/VERSION and models:/NAME@ALIAS (or NAME@ALIAS)"
)


def resolve_all(root: Path, names: Sequence[str]) -> list[Result]:
    """A result for each name, in order. ValueError: fewer than two, one named twice, or one that stands for nothing."""
    if len(names) < 2:
        raise ValueError(f"a comparison takes two results or more, not {len(names)}: {ALLOWED}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is named twice: a comparison takes different results")
    return [resolve(root, name) for name in names]


def resolve(root: Path, name: str) -> Result:
    """The results that a name stands for. ValueError says what is wrong with it and what is allowed."""
    if name == WORKSPACE:
        entries = lock_entries(root)
        if not entries:
            raise ValueError("the workspace has no results: there is no dvc.lock yet (`make run` makes it)")
        dirty = bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
        return _result(root, name, "workspace", entries, commit=_commit(root, "HEAD"), dirty=dirty)
    if found := VERSION.fullmatch(name):
        return _of_version(root, name, *found.groups())
    if commit := _commit(root, name):
        return _of_commit(root, name, "git revision", commit)
    if commit := experiments(root).get(name):
        return _of_commit(root, name, "DVC experiment", commit)
    if found := RUN_ID.fullmatch(name):
        return _of_run(root, name, _whole_run_id(found.group(1)))
    if found := ALIAS.fullmatch(name):
        return _of_version(root, name, found.group(1), "", found.group(2))
    raise ValueError(f"{name!r} is not known here: {ALLOWED}")


def _of_commit(root: Path, name: str, kind: str, commit: str) -> Result:
    data = _git(root, "show", f"{commit}:./dvc.lock")
    if data is None:
        raise ValueError(
            f"{kind} {name!r} ({commit[:8]}) holds no dvc.lock, so nobody knows what its results were: "
            "commit dvc.lock after a run (git add dvc.lock), or name its MLflow run"
        )
    entries = parse_lock(data, f"the dvc.lock of {name!r} ({commit[:8]}) is damaged")
    return _result(root, name, kind, entries, commit=commit, dirty=False)


def _of_version(root: Path, name: str, model: str, version: str, alias: str | None = None) -> Result:
    from mlflow.exceptions import MlflowException

    client = _server(name).client
    try:
        found = client.get_model_version_by_alias(model, alias) if alias else client.get_model_version(model, version)
    except MlflowException as error:
        raise ValueError(f"{name!r}: MLflow's registry has no such model ({_first_line(error)}); {ALLOWED}") from None
    if not found.run_id:
        raise ValueError(f"{name!r}: version {found.version} of {model} names no MLflow run that made it")
    return _of_run(root, name, found.run_id, f"registered model, version {found.version}")


def _of_run(root: Path, name: str, run_id: str, kind: str = "MLflow run") -> Result:
    from mlflow.exceptions import MlflowException

    server = _server(name)
    try:
        run = server.client.get_run(run_id)
    except MlflowException as error:
        raise ValueError(f"{name!r}: MLflow has no such run ({_first_line(error)}); {ALLOWED}") from None
    stage = run.data.tags.get("dvc.stage")
    query = f"tags.`mlflow.parentRunId` = '{run_id}'"
    runs = [run] if stage else list(server.client.search_runs([server.experiment_id], query, max_results=1000))
    runs = [found for found in runs if found.data.tags.get("dvc.outputs")]
    if not runs:
        raise ValueError(f"{name!r}: the MLflow run {run_id[:12]} holds no finished stage, so it has no results")
    graph, recorded = load_graph(root), recorded_runs(root)
    own = {found.data.tags["dvc.stage"]: found for found in reversed(runs)}  # of a stage that ran twice the newest
    entries = {step: _recorded(recorded, found) or _as_logged(found) for step, found in own.items()}
    entries = _with_lineage(graph, recorded, entries, whole=stage is None)
    tags = run.data.tags
    dirty = {"true": True, "false": False}.get(tags.get("git.dirty", ""))
    return _result(root, name, kind, entries, tags.get("mlflow.source.git.commit"), dirty, stage,
                   {step: found.info.run_id for step, found in own.items()})  # fmt: skip


def _result(
    root: Path, name: str, kind: str, entries: Mapping[str, Entry], commit: str | None, dirty: bool | None,
    stage: str | None = None, runs: Mapping[str, str] | None = None,
) -> Result:  # fmt: skip
    order = [step for step in load_graph(root) if step in entries]
    stages = {step: entries[step] for step in [*order, *(other for other in entries if other not in order)]}
    outputs = {path: md5 for entry in stages.values() for path, md5 in locked_outputs(entry).items()}
    known = dict(runs or {})
    for step, entry in stages.items():
        made = digest(locked_inputs(entry)), digest(locked_outputs(entry))
        if step not in known and (found := tracking.find_run(step, *made)):
            known[step] = found
    places: tuple[Place, ...] = (Cache(outputs, cached_object(root)), Workspace(outputs, root))
    logged: dict[str, dict[str, float]] = {}
    if known:
        with suppress(Exception):  # a server that is away takes links and artifacts with it, nothing else
            client = store(tracking_uri()).client
            places += (Artifacts(client, known),)
            logged = {step: _final(client.get_run(known[step])) for step in runs or {}}
    return Result(name, kind, stages, places, commit, dirty, stage, known, logged)


def _with_lineage(
    graph: Mapping[str, StageSpec], recorded: Sequence[Entry], own: Mapping[str, Entry], whole: bool
) -> dict[str, Entry]:
    """The entries, all that they were made from, and what was made from them last; `whole`: what that needed, too."""
    names = {_words(spec.cmd): name for name, spec in graph.items()}
    named = [(names[_words(entry["cmd"])], entry) for entry in recorded if _words(entry["cmd"]) in names]
    found = _upstream(named, own)
    for name in graph:  # in order, so that evaluate is the one that read what lora, above, has made
        if name in found:
            continue
        made = {path: md5 for step in found if step not in _before(graph, own) for path, md5 in _outs(found[step])}
        for other, entry in named:
            deps = locked_inputs(entry)["deps"]
            shared = [path for path in deps if path in made]
            if other == name and shared and all(deps[path] == made[path] for path in shared):
                found[name] = entry
                break
    return _upstream(named, found) if whole else found


def _upstream(named: Iterable[tuple[str, Entry]], own: Mapping[str, Entry]) -> dict[str, Entry]:
    """The entries and, for everything that they read, the newest entry that made it."""
    makers: dict[tuple[str, str], tuple[str, Entry]] = {}
    for name, entry in named:
        for out in _outs(entry):
            makers.setdefault(out, (name, entry))
    found, pending = dict(own), list(own.values())
    while pending:
        for dep in locked_inputs(pending.pop())["deps"].items():
            if dep in makers and makers[dep][0] not in found:
                name, entry = makers[dep]
                found[name] = entry
                pending.append(entry)
    return found


def _before(graph: Mapping[str, StageSpec], own: Iterable[str]) -> set[str]:
    """The stages upstream of some: what else was made from those says nothing about these."""
    found: set[str] = set()
    pending = [name for name in own if name in graph]
    while pending:
        more = [name for name in graph[pending.pop()].upstream if name not in found]
        found.update(more)
        pending += more
    return found - set(own)


def _outs(entry: Entry) -> Iterable[tuple[str, str]]:
    return locked_outputs(entry).items()


def _recorded(recorded: Iterable[Entry], run: Any) -> Entry | None:
    wanted = run.data.tags["dvc.inputs"], run.data.tags["dvc.outputs"]
    return next((e for e in recorded if (digest(locked_inputs(e)), digest(locked_outputs(e))) == wanted), None)


def _as_logged(run: Any) -> Entry:
    """An entry in the form of dvc.lock, as far as MLflow knows: no code, no outputs."""
    deps = [
        {"path": json.loads(used.dataset.source)["uri"], "md5": used.dataset.digest}
        for used in (run.inputs.dataset_inputs if run.inputs else [])
        if any(tag.key == "mlflow.data.context" and tag.value == "input" for tag in used.tags)
    ]
    params = {leaf: _value(text) for leaf, text in run.data.params.items()}
    return {"cmd": run.data.tags.get("mlflow.source.name", ""), "deps": deps, "params": {PARAMS_FILE: params}}


def _value(text: str) -> Any:
    """MLflow keeps parameters as text; Python's None and lists are YAML's, or nearly."""
    try:
        return None if text == "None" else YAML(typ="safe").load(text)
    except YAMLError:
        return text


def _final(run: Any) -> dict[str, float]:
    values = run.data.metrics.items()
    return {name.removeprefix("final/").replace("/", "."): v for name, v in values if name.startswith("final/")}


def _whole_run_id(given: str) -> str:
    """The id that begins like this: of the ledger, else of MLflow's newest runs."""
    if len(given) == 32:
        return given
    known = {entry.get("run_id") or "" for entry in ledger.entries()}
    found = {run_id for run_id in known if run_id.startswith(given)}
    if not found:
        server = _server(given)
        runs = server.client.search_runs([server.experiment_id], max_results=5000)
        found = {run.info.run_id for run in runs if run.info.run_id.startswith(given)}
    if len(found) != 1:
        raise ValueError(f"{given!r} is {'no' if not found else 'more than one'} MLflow run's id: {ALLOWED}")
    return found.pop()


def _server(name: str) -> Store:
    uri = tracking_uri()
    if uri == f"sqlite:///{paths.mlflow_db().absolute()}" and not paths.mlflow_db().exists():
        raise ValueError(f"{name!r} is not known here, and there are no MLflow runs yet: {ALLOWED}")
    try:
        return store(uri)
    except ValueError as error:
        raise ValueError(f"{name!r}: {error}") from error
    except Exception as error:
        raise ValueError(f"{name!r}: the MLflow server does not answer ({type(error).__name__})") from error


def _commit(root: Path, revision: str) -> str | None:
    if revision.startswith("-"):
        return None
    found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    return found.decode().strip() if found else None


def _git(root: Path, *arguments: str) -> bytes | None:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True)
    return done.stdout if done.returncode == 0 else None


def _words(cmd: Any) -> str:
    return " ".join(cmd) if isinstance(cmd, list | tuple) else str(cmd)


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:200]
