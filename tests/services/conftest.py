"""A PostgreSQL server that asks for a password, and moto's S3 server, on free loopback ports."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services.servers import KEY, PASSWORD, Postgres, free_port, programs
from tests.tiny import ROOT


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server with the databases mlflow and prefect."""
    pg_programs = programs()
    folder = Path(tempfile.mkdtemp(prefix="scriptorium-postgres-", dir="/tmp"))  # the path of a socket has to be short
    port = free_port()
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}

    def pg(program: str, *arguments: str) -> None:
        told = subprocess.run(
            [str(pg_programs / program), *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "HOME": str(folder)}, **as_user,
        )  # fmt: skip
        assert told.returncode == 0, told.stderr

    data, password = str(folder / "data"), folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)  # in a folder that is closed to others
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
    try:
        pg("initdb", "--pgdata", data, "--username", "scriptorium", "--pwfile", str(password),
           "--auth", "scram-sha-256", "--no-sync", "--encoding", "UTF8", "--no-locale")  # fmt: skip
        pg("pg_ctl", "start", "--pgdata", data, "--log", str(folder / "log"), "--wait", "--options", options)
        try:
            server = Postgres(port)
            for name in ("mlflow", "prefect"):
                server.rows("postgres", f"CREATE DATABASE {name}")
            yield server
        finally:
            pg("pg_ctl", "stop", "--pgdata", data, "--mode", "immediate")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of an S3 server with the bucket `scriptorium`."""
    pytest.importorskip("moto", reason="moto is not installed: `make test-services` installs it")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    program = "import sys; from moto.server import main; main(['--host', '127.0.0.1', '--port', sys.argv[1]])"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", program, str(port)], **quiet) as server:
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            request = urllib.request.Request(f"{address}/scriptorium", method="PUT")
            for _ in range(600):
                try:
                    opener.open(request).close()
                    break
                except OSError:
                    assert server.poll() is None
                    time.sleep(0.1)
            yield address
        finally:
            server.terminate()


@pytest.fixture(scope="session")
def settings(postgres: Postgres, s3: str) -> dict[str, str]:
    """What a person uncomments in .env.example, with the addresses and passwords of these servers."""
    lines = re.findall(r"^#([A-Z][A-Z0-9_]*)=(.*)$", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    wanted = ("MLFLOW_TRACKING_URI", "SCRIPTORIUM_ARTIFACTS", "SCRIPTORIUM_REMOTE", "AWS_ENDPOINT_URL",
              "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION",
              "PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_PORT", "MLFLOW_PORT")  # fmt: skip
    values = {name: value for name, value in lines if name in wanted}
    assert set(values) == set(wanted)
    for name, value in values.items():
        secret = KEY if name.startswith("AWS_") else PASSWORD
        here = value.replace("127.0.0.1:5432", f"127.0.0.1:{postgres.port}").replace("PASSWORD", secret)
        values[name] = here
    return values | {"AWS_ENDPOINT_URL": s3, "PREFECT_PORT": str(free_port()), "MLFLOW_PORT": str(free_port())}
