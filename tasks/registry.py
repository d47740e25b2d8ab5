"""The models under their registered names: versions, the aliases `champion` and `challenger`, and what is said of each.

A stage has logged its model with MLflow already; registering gives it a version and writes down where it comes from.
Which run made the workspace's bytes is found by their digests (`tracking.find_run`). The same bytes get one version.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import tracking
from pipeline.files import md5_path
from pipeline.fingerprint import digest, locked_inputs, locked_outputs
from pipeline.graph import load_graph, select
from pipeline.schema import Params
from pipeline.secrets import without_password
from pipeline.store import QUIET, Store, store, tracking_uri
from tasks.dvc_repo import lock_entries, statuses
from tasks.lineage import lineage_of

CHAMPION, CHALLENGER = "champion", "challenger"
PREFIX = "scriptorium-"
HISTORY = "champion.history"  # on the registered model: the versions that were champion, the present one last
LINEAGE = "lineage"  # the folder of a run's artifacts
KINDS = {"base": "base", "classifier": "classifier", "classifier-lora": "classifier", "assistant": "assistant"}
STAGES = {"base": "pretrain", "classifier": "classify", "classifier-lora": "lora", "assistant": "instruct"}
NAMES = tuple(PREFIX + short for short in STAGES)


@dataclass(frozen=True)
class Version:
    """A registered version. `tags` are those of the moment when it was read."""

    name: str
    number: int
    run_id: str
    model_id: str
    tags: Mapping[str, str]

    @property
    def short(self) -> str:
        return self.name.removeprefix(PREFIX)

    @property
    def kind(self) -> str:
        """ "base", "classifier" or "assistant": what one can ask of it."""
        return KINDS[self.short]

    @property
    def digest(self) -> str:
        return self.tags["model.digest"]

    def __str__(self) -> str:
        return f"{self.name} version {self.number}"


@dataclass(frozen=True)
class Current:
    """A model as it lies in the workspace: the stage that made it, the variant, and its folders with their md5."""

    name: str
    stage: str
    logged: str  # its name among the run's models
    variant: str
    folders: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Stands for the bytes that answer."""
        return digest({Path(path).name: md5 for path, md5 in self.folders.items()})


def full_name(name: str) -> str:
    """A registered name, from itself or without its prefix. ValueError for any other."""
    found = name if name.startswith(PREFIX) else PREFIX + name
    if found not in NAMES:
        raise ValueError(f"there is no model {name!r}: allowed are {', '.join(NAMES)}")
    return found


def registry() -> Store:
    """The tracking server with its registry. ValueError, with what it said, when it does not answer."""
    with told():
        server = store(tracking_uri())
        import mlflow

        mlflow.set_tracking_uri(server.uri)  # where MLflow itself looks up `models:/…` and a version's logged model
        return server


@contextmanager
def told() -> Iterator[None]:
    """MLflow's refusals, and a server that is away, as one sentence."""
    for name, value in QUIET.items():  # before MLflow is imported, or it waits minutes for a dead server
        os.environ.setdefault(name, value)
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise ValueError(f"MLflow at {where()}: {' '.join(error.message.split())[:500]}") from error


def where() -> str:
    """The tracking server's address for people: without a password."""
    return without_password(tracking_uri())


def current(root: Path, name: str, params: Params) -> Current:
    """The workspace's model of that name. ValueError when a stage on the way to it or to its scores has to run."""
    short = full_name(name).removeprefix(PREFIX)
    stage = STAGES[short]
    for needed, status in statuses(root, list(select(load_graph(root), [stage, "evaluate"]))).items():
        if not status.up_to_date:
            why = status.busy or status.reasons[0]
            raise ValueError(f"{needed} is not up to date ({why}): `make run` first, then promote what came out")
    outs = {path: md5 for entry in lock_entries(root).values() for path, md5 in locked_outputs(entry).items()}
    variant, logged, folder = "", short, f"models/{short}"
    if short == "classifier-lora":
        variant, folder = "lora", "models/lora"
    elif short in ("classifier", "assistant"):
        variant = getattr(params.promote, short)
        logged, folder = f"{short}-{variant}", f"models/{short}/{variant}"
        if not (root / folder).is_dir():
            raise ValueError(f"promote.{short} is {variant!r}: {stage}.variants of params.yaml does not train it")
    wanted = [folder, "data/tokenizer", *(["models/base"] if short == "classifier-lora" else [])]
    return Current(PREFIX + short, stage, logged, variant, {path: _md5(root, path, outs) for path in wanted})


def register(root: Path, model: Current) -> Version:
    """The model's version, made now where these bytes have none. Interrupted and repeated, it ends the same.

    ValueError when MLflow has no run that made these bytes, or the run has no such model.
    """
    server = registry()
    with told():
        _ensure_model(server, model.name)
        known = [version for version in versions(model.name) if version.tags.get("model.digest") == model.digest]
        if known:
            return known[0]
        entry = lock_entries(root)[model.stage]
        inputs, outputs = digest(locked_inputs(entry)), digest(locked_outputs(entry))
        run_id = tracking.find_run(model.stage, inputs, outputs)
        if run_id is None or not server.has(run_id):
            raise ValueError(
                f"MLflow at {where()} has no run of {model.stage} that made {next(iter(model.folders))}: `make sync` "
                f"sends what it missed; `dvc repro --force --single-item {model.stage}` makes it again"
            )
        model_id = _logged_model(server, run_id, model.logged)
        record = lineage_of(root, model.stage) | {"model": dict(model.folders)}
        server.client.log_dict(run_id, record, _record_file(model.name, model.digest))
        tags = _tags(server, run_id, model, record) | {"dvc.inputs": inputs, "dvc.outputs": outputs}
        made = server.client.create_model_version(
            model.name, f"models:/{model_id}", run_id, tags=tags, model_id=model_id
        )
        return _version(made)


def recorded(version: Version) -> dict[str, Any]:
    """The record of where a version comes from (`lineage_of`). ValueError when MLflow has lost it."""
    server = registry()
    name = _record_file(version.name, version.digest)
    with told(), tempfile.TemporaryDirectory() as scratch:
        if name not in {each.path for each in server.client.list_artifacts(version.run_id, LINEAGE)}:
            raise ValueError(f"run {version.run_id} has no artifact {name}: the lineage of {version} is lost")
        file = Path(server.client.download_artifacts(version.run_id, name, scratch))
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return record


def versions(name: str) -> list[Version]:
    """All versions of a registered model, newest first."""
    found = registry().client.search_model_versions(f"name = '{name}'", max_results=10_000)
    return sorted((_version(each) for each in found), key=lambda version: version.number, reverse=True)


def named(reference: str) -> Version:
    """The version behind NAME@ALIAS or NAME/NUMBER; NAME alone is its champion. ValueError when there is none."""
    text = reference.removeprefix("models:/")
    name, at, alias = text.partition("@")
    name, slash, number = name.partition("/")
    found = None
    if slash and number.isdigit():
        found = next((version for version in versions(full_name(name)) if version.number == int(number)), None)
    elif not slash:
        found = with_alias(full_name(name), alias if at else CHAMPION)
    if found is None:
        raise ValueError(
            f"{reference}: there is no such version (NAME@champion, NAME@challenger and NAME/2 are allowed)"
        )
    return found


def with_alias(name: str, alias: str) -> Version | None:
    from mlflow.exceptions import MlflowException

    try:
        return _version(registry().client.get_model_version_by_alias(name, alias))
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None


def set_alias(version: Version, alias: str) -> None:
    registry().client.set_registered_model_alias(version.name, alias, str(version.number))


def remove_alias(name: str, alias: str) -> None:
    registry().client.delete_registered_model_alias(name, alias)


def set_tags(version: Version, tags: Mapping[str, object]) -> None:
    for key, value in tags.items():
        registry().client.set_model_version_tag(version.name, str(version.number), key, str(value))


def history(name: str) -> list[int]:
    """The numbers of the versions that were champion, in turn, the present one last."""
    found = registry().client.get_registered_model(name).tags.get(HISTORY, "[]")
    return [int(number) for number in json.loads(found)]


def crown(version: Version, past: list[int]) -> None:
    """Make a version champion, after those of `past`. The history is written first: it can tell what the alias was."""
    client = registry().client
    client.set_registered_model_tag(version.name, HISTORY, json.dumps([*past, version.number]))
    set_alias(version, CHAMPION)
    challenger = with_alias(version.name, CHALLENGER)
    if challenger is not None and challenger.number == version.number:
        remove_alias(version.name, CHALLENGER)


def rollback(name: str) -> tuple[Version, Version]:
    """Make the champion before this one champion again; (the one that goes, the one that comes back)."""
    with told():
        full = full_name(name)
        going = with_alias(full, CHAMPION)
        if going is None:
            raise ValueError(f"{full} has no champion: `make promote` makes one")
        past = history(full)
        past = past[: past.index(going.number)] if going.number in past else past
        back = next((version for version in versions(full) if past and version.number == past[-1]), None)
        if back is None:
            raise ValueError(f"{going} is the first champion: there is none before it to go back to")
        set_tags(going, {"gate.rolled_back": f"to version {back.number}"})
        crown(back, past[:-1])
        return going, back


def _record_file(name: str, model_digest: str) -> str:
    return f"{LINEAGE}/{name}-{model_digest}.json"


def _tags(server: Store, run_id: str, model: Current, record: Mapping[str, Any]) -> dict[str, str]:
    run = server.client.get_run(run_id)
    told_by_run = {
        name: value for name, value in run.data.tags.items() if name == "git.dirty" or name.startswith("version.")
    }
    inputs = run.inputs.dataset_inputs if run.inputs else []
    datasets = {f"dataset.{each.dataset.name}": each.dataset.digest for each in inputs}
    files = {f"md5.{path}": md5 for path, md5 in model.folders.items()}
    stages = {
        f"lineage.{name}": f"{digest(locked_inputs(entry))} -> {digest(locked_outputs(entry))}"
        for name, entry in record["stages"].items()
    }
    params = {f"param.{name}": json.dumps(value) for name, value in record["params"].items()}
    commit = run.data.tags.get("mlflow.source.git.commit", "unknown")
    own = {"model.digest": model.digest, "model.variant": model.variant, "dvc.stage": model.stage, "git.commit": commit}
    return {**told_by_run, **datasets, **files, **stages, **params, **own}


def _logged_model(server: Store, run_id: str, name: str) -> str:
    outputs = server.client.get_run(run_id).outputs
    for output in outputs.model_outputs if outputs else ():
        found = server.client.get_logged_model(output.model_id)
        if found.name == name and str(found.status) in ("READY", "LoggedModelStatus.READY"):
            return str(found.model_id)
    raise ValueError(f"run {run_id} has no model {name!r} that is ready: `make sync` sends what MLflow missed")


def _ensure_model(server: Store, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        server.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _version(entity: Any) -> Version:
    """The logged model is in the source: MLflow's database keeps no version's `model_id`."""
    model_id = entity.source.removeprefix("models:/")
    return Version(entity.name, int(entity.version), entity.run_id, model_id, dict(entity.tags))


def _md5(root: Path, path: str, outs: Mapping[str, str]) -> str:
    """Of an output; of a folder inside one, from the files, which DVC holds to be those of dvc.lock."""
    return outs.get(path) or md5_path(root / path, root=root)
