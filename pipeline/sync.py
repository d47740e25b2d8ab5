"""From the journal to MLflow: `python -m pipeline.sync` (make sync) sends what is left over.

`python -m pipeline.sync --follow KEY` is started beside a run and sends its journal every few seconds until standard
input, the lifeline to the run, closes; the one beside a flow sends the journals of its stages, too. It is a process of
its own and not a thread: importing MLflow in a thread would hold the interpreter and the import locks of the training,
would count as the stage's memory, and could crash its exit.
"""

from __future__ import annotations

import os
import select
import shutil
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

from pipeline import journal, ledger, paths
from pipeline.children import Children
from pipeline.journal import Sent
from pipeline.locks import hold, is_gone
from pipeline.replay import Replay
from pipeline.secrets import without_password, without_secrets
from pipeline.store import Store, store, tracking_uri

EVERY_S = 5.0
REST_S = 30.0  # after a failure
SLOW_S = 3.0  # a failure that took longer is not tried again while somebody waits
OTHER_WAIT_S = 10.0
DYING_S = 1.0  # from the moment a process's pipes close to its end


def send(key: str, lock_wait_s: float = 60.0, begin_only: bool = False) -> str | None:
    """Replay what is unsent of a journal; returns the run's id. Raises whatever MLflow raises, and TimeoutError.

    A journal that is finished and sent goes into the ledger and is removed. begin_only: see that there is a run.
    """
    with hold(f"journal-{key}", timeout_s=lock_wait_s):
        state = journal.sent(key)
        if any(journal.events(key, state.offset)) or (state.uri and state.uri != without_password(tracking_uri())):
            _replay(key, state := _current(store(tracking_uri()), state), begin_only)
        if not begin_only and journal.finished(key):
            _remember(key, state)
            shutil.rmtree(paths.journal() / key)
        return state.run_id or run_id_of(key)


def attempt(key: str, lock_wait_s: float = 60.0) -> bool:
    """Send a journal; False, with a line for the log, when that failed: it stays for the next time."""
    try:
        send(key, lock_wait_s)
    except Exception as error:
        print(
            f"{time.strftime('%F %T')} {key}: {type(error).__name__}: {without_secrets(str(error))[:500]}", flush=True
        )
        return False
    return True


def run_id_of(key: str) -> str | None:
    """The MLflow run of a journal as far as this computer knows, without asking MLflow."""
    entry = ledger.newest(key=key)
    return journal.sent(key).run_id or (entry or {}).get("run_id")


def follow(key: str, lifeline: int, children: Children | None = None) -> None:
    """Send KEY's journal as it grows; once the server has answered, also what earlier runs left over.

    The follower of a flow sends its stages' journals, too, and lives until the flow and the last of its stages is gone.
    """
    stages = children or Children()
    rest_until, slow, others, ended = 0.0, False, True, False
    while not ended:
        began = time.monotonic()
        stages.look()
        if began >= rest_until:
            done, slow = _attempt_all(key, stages)
            rest_until = 0.0 if done else time.monotonic() + REST_S
            if done and others:
                others = False
                _send_others(key, lifeline)
        ended = _closed(lifeline, EVERY_S)
        stages.look()
        if not stages.alive:
            mark_killed(stages.keys)
        elif ended:  # the flow is gone, its stages are about to be
            ended = False
            time.sleep(EVERY_S)
    mark_killed([key])
    stages.close(key)
    if not slow:
        _attempt_all(key, stages)


def _attempt_all(key: str, stages: Children) -> tuple[bool, bool]:
    """Send the journals of the stages, then KEY, whose summary links to them: whether all went well, and whether a
    failure took long. After such a one the rest is left for the next time; what has ended and arrived leaves the list.
    """
    done = True
    for other in [*stages.keys, key]:
        began, ended = time.monotonic(), journal.last(other).get("type", "end") == "end"
        if not attempt(other):
            done = False
            if time.monotonic() - began > SLOW_S:
                return False, True
        elif ended and other in stages.keys:
            stages.keys.remove(other)
    return done, False


def mark_killed(keys: Iterable[str], *, followed: bool = True) -> list[str]:
    """An end for the journals whose process died without a word; their keys. Who goes on in a journal is let alone.

    followed: its pipe has just closed, so that it is dead or about to be.
    """
    marked = []
    for key in keys:
        if journal.last(key).get("type", "end") != "end" and _has_died(key, followed):
            journal.Journal(key).end(journal.KILLED)
            marked.append(key)
    return marked


def _has_died(key: str, followed: bool) -> bool:
    """Whether the process that last started (or resumed) a run is gone."""
    process = journal.last_process(key)
    if not process:  # of an older version
        return followed
    deadline = time.monotonic() + DYING_S * followed
    while not is_gone(process):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def _send_others(key: str, lifeline: int) -> None:
    for other in journal.unsent():
        if _closed(lifeline, 0):
            return
        if other != key:
            attempt(other, lock_wait_s=0)


def _closed(lifeline: int, wait_s: float) -> bool:
    """Nothing is ever written to the lifeline: when it can be read, its other end is gone."""
    return bool(select.select([lifeline], [], [], wait_s)[0])


def _current(server: Store, state: Sent) -> Sent:
    """The state to go on from; another server or a deleted database is told everything."""
    if state.uri != server.address or (state.run_id and not server.has(state.run_id)):
        state = Sent()
    state.uri, state.experiment_id = server.address, server.experiment_id
    return state


def _replay(key: str, state: Sent, begin_only: bool) -> None:
    server = store(tracking_uri())

    def run_of(other: str) -> str | None:
        """The run of another journal, made now if need be: a child that is sent without its parent, or a summary
        without the stage that it links to, would never find it again.

        Made and no more: what else they have to say is sent in their turn. A parent that is waiting for this has its
        run already, and its lock is held.
        """
        known = journal.sent(other)
        if known.run_id and known.uri == server.address and server.has(known.run_id):
            return known.run_id
        if (paths.journal() / other).is_dir() and (run_id := send(other, OTHER_WAIT_S, begin_only=True)):
            return run_id
        return run_id_of(other) or server.find({"scriptorium.key": other})

    Replay(server, key, state, run_of=run_of).run(begin_only)


def _remember(key: str, state: Sent) -> None:
    """The ledger's line of a finished run, from the tags that its journal holds, unless the run wrote it itself."""
    if (known := ledger.newest(key=key)) and known.get("run_id") == state.run_id:
        return
    tags: dict[str, str] = {}
    for event, _ in journal.events(key):
        tags |= event.get("tags", {}) | (event["values"] if event["type"] == "tags" else {})
    names = {"stage": "dvc.stage", "inputs": "dvc.inputs", "outputs": "dvc.outputs"}
    ledger.append({name: tags.get(tag) for name, tag in names.items()} | {"key": key, "run_id": state.run_id})


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--follow"]:
        with suppress(OSError):
            os.nice(10)  # the training goes first: a tenth of a processor beside it
        pipe = int(arguments[3]) if arguments[2:3] == ["--children"] else None
        follow(arguments[1], sys.stdin.fileno(), Children(pipe))
        return 0
    mark_killed(journal.known(), followed=False)
    keys = arguments or journal.unsent()
    sent = sum(attempt(key) for key in keys)
    print(f"{sent} of {len(keys)} journals sent to {without_password(tracking_uri())}")
    return 0 if sent == len(keys) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
