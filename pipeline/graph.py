"""The stages of dvc.yaml and how they hang together, read without DVC.

Everything above the process boundary is built from this: add a stage to dvc.yaml and it is planned, run and shown, with
no code changed. A stage may carry `meta: {key_metric: validation_loss}`: the metric that summaries show for it.
Stages are written out: DVC's templates (`foreach`, `matrix`, `vars`, `${...}`) and `wdir` are refused with an error.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

PARAMS_FILE = "params.yaml"


@dataclass(frozen=True)
class StageSpec:
    """One stage as dvc.yaml declares it. Paths are relative to the repository's folder, with forward slashes."""

    name: str
    cmd: str | tuple[str, ...]
    deps: tuple[str, ...] = ()
    params: tuple[str, ...] = ()  # dotted leaves of params.yaml; another file's as "file:leaf"; "file:" is all of it
    outs: tuple[str, ...] = ()  # outs, metrics and plots together
    upstream: tuple[str, ...] = ()  # the stages whose outputs this one reads, directly
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def key_metric(self) -> str | None:
        """The metric to show for this stage, or None when dvc.yaml names none."""
        value = self.meta.get("key_metric")
        return str(value) if value is not None else None


def load_graph(root: Path | str = ".") -> dict[str, StageSpec]:
    """All stages of ROOT/dvc.yaml, each after those that it reads from. ValueError says what is wrong with the file."""
    file = Path(root) / "dvc.yaml"
    raw = read_mapping(file)
    if "vars" in raw or not isinstance(raw.get("stages", {}), dict):
        raise ValueError(f"{file}: 'stages' must be a mapping of stages written out; 'vars' is not supported")
    specs = {name: _parse(name, body, file) for name, body in raw.get("stages", {}).items()}
    linked = {name: _with_upstream(spec, specs.values()) for name, spec in specs.items()}
    return {name: linked[name] for wave in _sorted_waves(linked, file) for name in wave}


def waves(graph: Mapping[str, StageSpec]) -> list[list[str]]:
    """Stages in groups: each group needs only stages of the groups before it, so its members can run side by side."""
    return _sorted_waves(graph, Path("dvc.yaml"))


def select(graph: Mapping[str, StageSpec], targets: Sequence[str] | None) -> dict[str, StageSpec]:
    """The targets and all that they are made from, in the graph's order; None is all. ValueError for an unknown one."""
    if targets is None:
        return dict(graph)
    unknown = sorted(set(targets) - set(graph))
    if unknown:
        raise ValueError(f"dvc.yaml has no stage {', '.join(map(repr, unknown))}; allowed are {', '.join(graph)}")
    wanted: set[str] = set()
    pending = list(targets)
    while pending:
        name = pending.pop()
        if name not in wanted:
            wanted.add(name)
            pending.extend(graph[name].upstream)
    return {name: spec for name, spec in graph.items() if name in wanted}


def read_mapping(file: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping, as plain dicts and lists, read as DVC reads it (`4e-4` is a number)."""
    try:
        value = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{file} does not exist") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict | None):
        raise ValueError(f"{file} must hold a mapping, not a {type(value).__name__}")
    return value or {}


def overlap(one: str, other: str) -> bool:
    """Whether two paths are the same or one lies inside the other."""
    return one == other or one.startswith(other + "/") or other.startswith(one + "/")


def _parse(name: str, body: Any, file: Path) -> StageSpec:
    if not isinstance(body, dict) or not body.get("cmd"):
        raise ValueError(f"{file}: stage {name!r} needs a 'cmd' (foreach and matrix are not supported: write it out)")
    if "wdir" in body or "vars" in body or "${" in repr(body):
        raise ValueError(f"{file}: stage {name!r} uses wdir, vars or ${{...}}, which are not supported: write it out")
    cmd = body["cmd"]
    return StageSpec(
        name=name,
        cmd=tuple(cmd) if isinstance(cmd, list) else cmd,
        deps=tuple(_paths(body.get("deps"))),
        params=tuple(_params(body.get("params"))),
        outs=tuple(path for kind in ("outs", "metrics", "plots") for path in _paths(body.get(kind))),
        meta=body.get("meta") or {},
    )


def _paths(entries: Sequence[Any] | None) -> list[str]:
    """Each entry is a path, or a one-key mapping of a path to its settings."""
    names = [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries or ()]
    return [posixpath.normpath(name) for name in names]


def _params(entries: Sequence[Any] | None) -> list[str]:
    found: list[str] = []
    for entry in entries or ():
        if isinstance(entry, dict):
            for file, leaves in entry.items():
                prefix = "" if file == PARAMS_FILE and leaves else f"{file}:"
                found.extend(prefix + leaf for leaf in leaves or [""])
        else:
            found.append(entry)
    return found


def _with_upstream(spec: StageSpec, specs: Iterable[StageSpec]) -> StageSpec:
    upstream = tuple(
        other.name
        for other in specs
        if other.name != spec.name and any(overlap(dep, out) for dep in spec.deps for out in other.outs)
    )
    return StageSpec(spec.name, spec.cmd, spec.deps, spec.params, spec.outs, upstream, spec.meta)


def _sorted_waves(graph: Mapping[str, StageSpec], file: Path) -> list[list[str]]:
    done: set[str] = set()
    found: list[list[str]] = []
    while len(done) < len(graph):
        waiting = {name: spec for name, spec in graph.items() if name not in done}
        ready = [name for name, spec in waiting.items() if not any(other in waiting for other in spec.upstream)]
        if not ready:
            raise ValueError(f"{file}: these stages wait for each other: {', '.join(sorted(waiting))}")
        found.append(ready)
        done.update(ready)
    return found
