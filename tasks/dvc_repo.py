"""The one module that touches DVC's Python API (not public: the version is pinned).

In one process a stage's status takes some 60 ms instead of a second of imports. All calls here run one at a time, under
our thread lock and DVC's repository lock. None of them runs a stage: that is `tasks/reproduce.py`.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from pipeline import kept, paths, syntax
from pipeline.files import md5_bytes, remove_tree, write_atomic
from pipeline.fingerprint import checkpoint_key, digest, locked_inputs, locked_outputs
from pipeline.locks import CLOCK_S, hold
from pipeline.params import leaves
from pipeline.secrets import without_secrets
from tasks.lock_file import read_lock, split_lock

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Status:
    """Why DVC would run a stage (nothing: it is up to date), and whether its run cache holds the result already.

    `comments`: the edited code files, where nothing else is a reason and none of them is another program than before.
    """

    reasons: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()
    restorable: bool = False
    busy: str | None = None  # another process works on the stage's files, so that nothing can be said: who

    @property
    def up_to_date(self) -> bool:
        return not self.reasons and self.busy is None

    @property
    def only_comments(self) -> str:
        """In words: "only comments changed in a.py, b.py, c.py and 9 more"; empty where that is not so."""
        shown, more = ", ".join(self.comments[:3]), len(self.comments) - 3
        return f"only comments changed in {shown}" + (f" and {more} more" if more > 0 else "") if shown else ""


def statuses(root: Path, names: Sequence[str]) -> dict[str, Status]:
    """The status of each stage as the files lie now. ValueError when DVC can't read dvc.yaml or params.yaml.

    names: in the order of the graph. What an earlier one of them would get back from the run cache counts as there when
    a later one is asked whether its result can be restored, too.
    """
    try:
        with _repository(root, wait=False) as repo:
            entries = cache(lambda: read_lock(root))  # once, and only where a stage is stale: reading takes 85 ms
            restored: dict[str, Any] = {}
            return {name: _status(repo, root, name, entries, restored) for name in names}
    except BlockingIOError as error:
        return {name: Status(busy=str(error)) for name in names}


def accept_comments(root: Path, name: str) -> bool:
    """`dvc commit -f`, for a stage whose code changed in comments alone; False where more than that has changed.

    What is about to be recorded is looked at once more: somebody may be editing in this very moment.
    """
    from dvc.stage.serialize import to_single_stage_lockfile

    with _repository(root) as repo:
        stage = repo.stage.load_one(str(root / "dvc.yaml"), name)
        before = read_lock(root).get(name)
        if before is None or not (edited := _only_comments(stage, root, before)):
            return False
        stage.save(run_cache=False)  # in memory only
        now = to_single_stage_lockfile(stage)
        was, found = locked_inputs(before), locked_inputs(now)
        if found != was | {"deps": was["deps"] | edited} or locked_outputs(now) != locked_outputs(before):
            return False
        syntax.remember(root / path for path in edited)
        repo.stage_cache.save(stage)
        stage.commit()
        stage.dump(update_pipeline=False)
    return True


def lock_entries(root: Path) -> dict[str, dict[str, Any]]:
    """The stages' entries of dvc.lock, which DVC writes non-atomically: read while nobody writes."""
    with _repository(root):
        return read_lock(root)


def repair(root: Path, wait: bool = True) -> list[str]:
    """Undo what a kill at a bad moment leaves behind; one sentence for each thing done.

    Without `wait`, BlockingIOError while another DVC command has the repository's lock.

    A dvc.lock cut short is put aside (DVC restores everything from its run cache, byte for byte), and file locks of
    processes that are gone, are zombies, or whose number another program has now, are released.
    """
    done = []
    with _repository(root, wait) as repo:
        try:
            read_lock(root)
        except ValueError as error:
            (root / "dvc.lock").replace(root / "dvc.lock.damaged")
            done.append(f"{error}: renamed dvc.lock.damaged, DVC's run cache has what it said")
        done += _release_dead(repo)
    return done


def sort_lock(root: Path) -> None:
    """Put the entries of dvc.lock in the order in which `dvc repro` writes them: siblings end in any order."""
    from dvc.repo.reproduce import plan_repro

    with _repository(root) as repo:
        if not (root / "dvc.lock").exists():
            return
        head, *entries = split_lock(root)
        order = [getattr(stage, "name", None) for stage in plan_repro(repo.index.graph)]
        rank = {f"  {name}:": place for place, name in enumerate(order)}
        ordered = sorted(entries, key=lambda entry: rank.get(entry.split("\n", 1)[0], len(rank)))
        if ordered != entries:
            write_atomic(root / "dvc.lock", head + "".join(ordered))


def drop_lock_entries(root: Path, names: Sequence[str]) -> None:
    """Take these stages' entries out of dvc.lock: what was not brought up to date is not recorded as if it were."""
    with _repository(root):
        if not read_lock(root):
            return
        head, *entries = split_lock(root)
        kept = [entry for entry in entries if entry.split("\n", 1)[0] not in {f"  {name}:" for name in names}]
        write_atomic(root / "dvc.lock", head + "".join(kept) if kept else "schema: '2.0'\nstages: {}\n")


def cache_folder(root: Path) -> Path:
    """Where DVC's cache lies, absolute, wherever a configuration put it."""
    with _repository(root) as repo:
        return Path(repo.cache.local_cache_dir).absolute()


def prune_checkpoints(root: Path, names: Sequence[str]) -> None:
    """Remove the checkpoints that led to the results which dvc.lock names; those of other, unfinished inputs stay.

    So do those that another workspace with the same home is using right now.
    """
    entries = lock_entries(root)
    for name in names:
        entry = entries.get(name)
        if entry is not None and entry.get("outs"):
            inputs = checkpoint_key(locked_inputs(entry))
            with suppress(TimeoutError), hold(f"{name}-{inputs}", timeout_s=0):
                remove_tree(paths.checkpoints(name, inputs))
            kept.prune(name)


@contextmanager
def _repository(root: Path, wait: bool = True) -> Iterator[Any]:
    """DVC's repository, locked. BlockingIOError when it need not wait and another command has the lock for 3 s."""
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo, lock_repo

    logging.getLogger("dvc").setLevel(logging.CRITICAL)  # what it has to say, we say; its bars are off, too
    with _one_at_a_time:
        try:
            with Repo(str(root), _wait_for_lock=wait) as repo, lock_repo(repo):
                yield repo
        except LockError:
            raise BlockingIOError("another DVC command is at work in this repository") from None
        except DvcException as error:
            raise ValueError(" ".join(str(error).split())) from error


def _status(
    repo: Any, root: Path, name: str, entries: Callable[[], Mapping[str, Any]], restored: dict[str, Any]
) -> Status:
    """`restored`: what the run cache would bring back, path → DVC's hash of it; this stage's outputs join it."""
    from dvc.lock import LockError

    stage = repo.stage.load_one(str(root / "dvc.yaml"), name)
    try:
        if not stage.status():
            return Status(restorable=_moved(stage, restored) and _restorable(repo, stage, restored))
    except LockError as error:
        return Status(busy=" ".join(str(error).split()))
    before = entries().get(name)
    if before is None:
        return Status(("never ran",), restorable=_restorable(repo, stage, restored))
    reasons, comments = tuple(_reasons(stage)), tuple(sorted(_only_comments(stage, root, before)))
    return Status(reasons or ("DVC holds it to be changed",), comments, _restorable(repo, stage, restored))


def _only_comments(stage: Any, root: Path, before: Mapping[str, Any]) -> dict[str, str]:
    """path → md5 of the edited code files, where each is the program it was and nothing else differs from dvc.lock."""
    from dvc.dependency import ParamsDependency

    if stage.cmd_changed or stage.is_callback or stage.always_changed or any(out.status() for out in stage.outs):
        return {}
    locked, known = locked_inputs(before)["deps"], syntax.known_versions()
    edited = {}
    for dep in _parameters_first(stage.deps):
        if dep.status():
            path = dep.def_path
            if isinstance(dep, ParamsDependency) or not path.endswith(".py") or not (root / path).is_file():
                return {}
            source = (root / path).read_bytes()
            if known.get(locked.get(path, "")) != syntax.syntax_digest(source):
                return {}
            edited[path] = md5_bytes(source)
    return edited


def _reasons(stage: Any) -> Iterator[str]:
    """What DVC's status says, in words: parameters with their old and new value, then code and data, then outputs."""
    from dvc.dependency import ParamsDependency

    if stage.cmd_changed:
        yield "its command changed"
    if stage.is_callback or stage.always_changed:
        yield "it always runs"
    for dep in () if stage.frozen else _parameters_first(stage.deps):
        found = dep.status()
        if isinstance(dep, ParamsDependency):
            yield from _changed_params(dep, found)
        elif found:
            yield {"deleted": f"{dep.def_path} is missing", "new": f"{dep.def_path} is a new input"}.get(
                next(iter(found.values())), f"{dep.def_path} changed"
            )
    for out in stage.outs:
        if found := out.status():
            yield {
                "deleted": f"its output {out.def_path} is missing",
                "new": f"{out.def_path} is a new output",
                "not in cache": f"its output {out.def_path} is not in DVC's cache",
            }.get(next(iter(found.values())), f"its output {out.def_path} was changed by hand")


def _parameters_first(deps: Iterable[Any]) -> list[Any]:
    from dvc.dependency import ParamsDependency

    return sorted(deps, key=lambda dep: not isinstance(dep, ParamsDependency))


def _changed_params(dep: Any, found: Mapping[str, Any]) -> Iterator[str]:
    changed: Any = next(iter(found.values()), {})
    if isinstance(changed, str):  # the whole file: deleted, or never recorded
        yield f"{dep.def_path} is {'missing' if changed == 'deleted' else changed}"
        return
    old, new = dep.hash_info.value or {}, dep.read_params()
    before = leaves({name: old[name] for name in changed if name in old})
    now = leaves({name: new[name] for name in changed if name in new})
    for leaf in [*now, *(leaf for leaf in before if leaf not in now)]:
        if any(name.startswith(f"{leaf}.") for name in (*now, *before)):
            continue  # an empty mapping that was filled, or has been emptied: its leaves say so
        if leaf not in now:
            yield f"{leaf} is gone from {dep.def_path}"
        elif leaf not in before:
            yield f"{leaf} = {_shown(now[leaf])} is a new input"
        elif before[leaf] != now[leaf]:
            yield f"{leaf} {_shown(before[leaf])} → {_shown(now[leaf])}"


def _shown(value: Any) -> str:
    text = without_secrets(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= 60 else text[:57] + "…"


def _moved(stage: Any, restored: Mapping[str, Any]) -> bool:
    """Whether something that is about to be restored differs from what the stage was last made from."""
    return any(restored.get(dep.def_path, dep.hash_info) != dep.hash_info for dep in stage.deps)


def _restorable(repo: Any, stage: Any, restored: dict[str, Any]) -> bool:
    """What DVC's own `restore` decides, without its message: is there a result for the inputs as they are now?"""
    from dvc.exceptions import DvcException
    from dvc.stage.cache import _can_hash
    from dvc.stage.serialize import to_single_stage_lockfile

    try:
        if not _can_hash(stage):
            return False
        whole = not stage.changed_stage() and stage.deps_cached() and all(out.hash_info for out in stage.outs)
        if whole and not _moved(stage, restored):
            entry = to_single_stage_lockfile(stage)
        else:
            stage.save_deps()  # in memory only
            for dep in stage.deps:
                dep.hash_info = restored.get(dep.def_path, dep.hash_info)
            entry = repo.stage_cache._load(stage)
        if entry is None or not (made := repo.stage_cache._create_stage(entry, wdir=stage.wdir)).outs_cached():
            return False
        restored.update({out.def_path: out.hash_info for out in made.outs})
        return True
    except (DvcException, FileNotFoundError):  # an input is missing
        return False


def _release_dead(repo: Any) -> list[str]:
    from dvc.rwlock import RWLockFileCorruptedError, RWLockFileFormatError, _edit_rwlock

    file = Path(repo.tmp_dir, "rwlock")
    if not file.exists():
        return []
    done = []
    written = file.stat().st_mtime
    try:
        with _edit_rwlock(repo.tmp_dir, repo.fs, False):
            pass
    except (RWLockFileCorruptedError, RWLockFileFormatError):  # no DVC command gets past it, nor does a running one
        file.unlink()
        return ["removed DVC's list of file locks, which it was interrupted in writing"]
    with _edit_rwlock(repo.tmp_dir, repo.fs, False) as locks:
        for path, holder in list(locks["write"].items()):
            if not _holds(holder, written):
                del locks["write"][path]
                done.append(f"released {path}, held by the dead process {holder['pid']}")
        for path, holders in list(locks["read"].items()):
            locks["read"][path] = [holder for holder in holders if _holds(holder, written)]
            if not locks["read"][path]:
                del locks["read"][path]
    return done


def _holds(holder: Mapping[str, Any], written: float) -> bool:
    """Whether the process that took a file lock lives: same number, no zombie, and its words on the command line.

    Nor may it have begun after the locks were last written (seconds since 1970): its number is in use again then.
    """
    import psutil

    try:
        process = psutil.Process(holder["pid"])
        if process.create_time() > written + CLOCK_S:
            return False
        words = set(" ".join(process.cmdline()).split())
        return process.status() != psutil.STATUS_ZOMBIE and words.issuperset(holder["cmd"].split()[1:])
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def experiments(root: Path) -> dict[str, str]:
    """DVC's experiments: name → git commit; of equal names the one that DVC lists last. None without git."""
    from dvc.repo.experiments.utils import exp_refs
    from dvc.scm import NoSCM

    with _repository(root) as repo:
        if isinstance(repo.scm, NoSCM):
            return {}
        return {ref.name: str(repo.scm.get_ref(str(ref))) for ref in exp_refs(repo.scm) if ref.name}


def cached_object(root: Path) -> Callable[[str], Path]:
    """A function from an md5 to the file in which DVC's cache holds those bytes, if it does."""
    with _repository(root) as repo:
        place = Path(repo.cache.local.path)
    return lambda md5: place / md5[:2] / md5[2:]


def recorded_runs(root: Path) -> list[dict[str, Any]]:
    """What DVC's run cache remembers of the stages that ran: entries as in dvc.lock, without names, newest first."""
    files = sorted(_run_files(root), key=lambda file: file.stat().st_mtime, reverse=True)
    return [entry for file in files if (entry := _run_entry(file))]


def forget_run(root: Path, entry: Mapping[str, Any]) -> None:
    """Remove what the run cache remembers of the inputs of an entry of dvc.lock."""
    inputs = digest(locked_inputs(entry))
    for file in _run_files(root):
        if (found := _run_entry(file)) and digest(locked_inputs(found)) == inputs:
            file.unlink(missing_ok=True)
            with suppress(OSError):  # others are in it
                file.parent.rmdir()  # DVC stumbles over one that is empty


def _run_files(root: Path) -> list[Path]:
    with _repository(root) as repo:
        return list(Path(repo.stage_cache.cache_dir).glob("*/*/*"))


def _run_entry(file: Path) -> dict[str, Any] | None:
    with suppress(YAMLError, UnicodeDecodeError, FileNotFoundError):  # being written, or removed just now
        entry = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
        if isinstance(entry, dict) and "cmd" in entry:
            return entry
    return None
