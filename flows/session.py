"""A flow's Prefect server, for the length of a `with`: ours or the one that is named, else a temporary one.

Ours is started again when it dies in the meantime: Prefect repeats a request for about a minute before it gives up.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from flows import services

services.configure()  # before Prefect reads its settings

from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE, temporary_settings  # noqa: E402

LOOK_EVERY_S = 2.0


@contextmanager
def prefect_server() -> Iterator[None]:
    """Inside, flows run against the server. SIGTERM counts as Ctrl-C from here on. ValueError: its port is taken."""
    try:
        prefect: dict[Any, Any] = {PREFECT_API_URL: services.prefect_api()}
    except TimeoutError as error:
        print(f"{error}\nGoing on with a temporary server.", file=sys.stderr)
        prefect = {PREFECT_API_URL: None, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: True}
    logging.getLogger("prefect.task_runs").addFilter(_says_something)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C, also after Prefect has seen it
    done = threading.Event()
    if services.is_ours(services.PREFECT):
        threading.Thread(target=_keep_alive, args=(done,), daemon=True).start()
    try:
        with temporary_settings(prefect):
            yield
    finally:
        done.set()


def _says_something(record: logging.LogRecord) -> bool:
    """Prefect tells a task's Failed state twice, first with the traceback of no exception: "NoneType: None"."""
    return record.exc_info != (None, None, None)


def _keep_alive(done: threading.Event) -> None:
    while not done.wait(LOOK_EVERY_S):
        if not services.is_ours(services.PREFECT):
            with suppress(ValueError, TimeoutError, OSError):  # then it is tried again
                print("Prefect's server has died: starting it again", file=sys.stderr, flush=True)
                services.start(services.PREFECT, where_it_was=True)
