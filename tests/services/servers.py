"""What the tests of shared services know of the servers: how to ask PostgreSQL itself, where its programs are."""

from __future__ import annotations

import secrets
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PASSWORD = secrets.token_hex(12)  # of the database; drawn anew, so that no file of the project can hold it
KEY = secrets.token_hex(12)  # of the S3 server


@dataclass(frozen=True)
class Postgres:
    port: int

    def rows(self, database: str, query: str) -> list[tuple[Any, ...]]:
        """The answer of the server itself, without MLflow or Prefect between."""
        import psycopg2

        address = {"host": "127.0.0.1", "port": self.port, "user": "scriptorium", "password": PASSWORD}
        connection = psycopg2.connect(dbname=database, **address)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def programs() -> Path:
    """The folder of PostgreSQL's programs: Debian keeps them off the PATH."""
    on_path = shutil.which("pg_ctl")
    found = [Path(on_path).resolve().parent] if on_path else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    if not found or not (found[-1] / "initdb").exists():
        pytest.skip("PostgreSQL's server is not installed: the package postgresql has it (apt install postgresql)")
    return found[-1]
