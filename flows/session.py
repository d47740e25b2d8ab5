"""A flow's Prefect server, for the length of a `with`: ours or the one that is named, else a temporary one."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flows import services

services.configure()  # before Prefect reads its settings

from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE, temporary_settings  # noqa: E402


@contextmanager
def prefect_server() -> Iterator[None]:
    """Inside, flows run against the server. SIGTERM counts as Ctrl-C from here on. ValueError: its port is taken."""
    try:
        prefect: dict[Any, Any] = {PREFECT_API_URL: services.prefect_api()}
    except TimeoutError as error:
        print(f"{error}\nGoing on with a temporary server.", file=sys.stderr)
        prefect = {PREFECT_API_URL: None, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: True}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C, also after Prefect has seen it
    with temporary_settings(prefect):
        yield
