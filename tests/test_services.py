"""Shared services for real: PostgreSQL under MLflow and Prefect, S3 (moto's server) under artifacts and DVC's remote.

make test-services. Two clones share the tracking database and the remote: one trains and pushes, the other executes
nothing, and its table links to the first one's runs.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from tests.tiny import make_workspace, run

pytestmark = pytest.mark.services


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def programs() -> Path:
    """The folder of PostgreSQL's programs: Debian keeps them off the PATH."""
    on_path = shutil.which("pg_ctl")
    found = [Path(on_path).parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("PostgreSQL's programs are not installed (Debian: apt install postgresql)")
    return found[-1]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server on a free loopback port, with the databases mlflow and prefect."""
    folder, port = Path("/tmp") / f"scriptorium-postgres-{os.getpid()}", free_port()
    folder.mkdir(mode=0o700)
    as_user: dict[str, str] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        as_user = {"user": "postgres", "group": "postgres"}

    def pg(program: str, *arguments: str) -> None:
        subprocess.run([str(programs() / program), *arguments], check=True, cwd=folder, stdout=-3, **as_user)

    data = str(folder / "data")
    pg("initdb", "--pgdata", data, "--username", "scriptorium", "--auth", "trust", "--no-sync", "--encoding", "UTF8")
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
    pg("pg_ctl", "start", "--pgdata", data, "--log", str(folder / "log"), "--wait", "--options", options)
    try:
        connection = psycopg2.connect(f"postgresql://scriptorium@127.0.0.1:{port}/postgres")
        connection.autocommit = True
        with connection.cursor() as cursor:
            for name in ("mlflow", "prefect"):
                cursor.execute(f"CREATE DATABASE {name}")
        connection.close()
        yield f"127.0.0.1:{port}"
    finally:
        pg("pg_ctl", "stop", "--pgdata", data, "--mode", "immediate")
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server with the bucket `scriptorium`."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    program = "import sys; from moto.server import main; main(['--host', '127.0.0.1', '--port', sys.argv[1]])"
    with subprocess.Popen([sys.executable, "-c", program, str(port)], stdout=-3, stderr=-3) as server:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(600):
            try:
                request = urllib.request.Request(f"{address}/scriptorium", method="PUT")
                assert opener.open(request).status == 200
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.1)
        yield address
        server.terminate()


@pytest.fixture(scope="module")
def shared(postgres: str, s3: str) -> dict[str, str]:
    """What .env says; every name stands in .env.example, too."""
    values = {
        "MLFLOW_TRACKING_URI": f"postgresql://scriptorium@{postgres}/mlflow",
        "SCRIPTORIUM_ARTIFACTS": "s3://scriptorium/mlflow",
        "MLFLOW_S3_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "scriptorium",
        "AWS_SECRET_ACCESS_KEY": "password",
        "AWS_DEFAULT_REGION": "us-east-1",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://scriptorium@{postgres}/prefect",
        "PREFECT_PORT": str(free_port()),
    }
    example = (Path(__file__).resolve().parent.parent / ".env.example").read_text()
    assert set(values) <= set(re.findall(r"^#([A-Z][A-Z0-9_]*)=", example, re.MULTILINE))
    return values | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def rows(printed: str) -> dict[str, tuple[str, str]]:
    """{stage: (what happened, MLflow run)} of the closing table."""
    words = [
        line.split() for line in printed.splitlines() if line.startswith(("download", "tokenize", "sample", "pre"))
    ]
    return {line[0]: (line[1], line[-1]) for line in words}


def test_one_clone_trains_and_pushes_the_other_executes_nothing(
    tmp_path: Path, shared: dict[str, str], s3: str, postgres: str
) -> None:
    first = make_workspace(tmp_path / "first")
    run(first, "dvc", "remote", "add", "--default", "shared", "s3://scriptorium/dvc")
    run(first, "dvc", "remote", "modify", "shared", "endpointurl", s3)
    train = ("python", "-m", "flows.train", "--stages", "pretrain")
    try:
        made = rows(run(first, *train, **shared).stdout)
    finally:
        run(first, "python", "-m", "flows.services", "stop", check=False, **shared)
    assert {what for what, _ in made.values()} == {"ran"} and len(made) == 4
    run(first, "dvc", "push", "--run-cache", **shared)
    name = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    run(first, "git", *name, "add", "-A")
    run(first, "git", *name, "commit", "-qm", "Trained")

    second = tmp_path / "second"
    run(tmp_path, "git", "clone", "-q", str(first), str(second))
    shutil.copytree(first / "data" / "own", second / "data" / "own", dirs_exist_ok=True)
    run(second, "dvc", "pull", "--run-cache", "--allow-missing", **shared)
    try:
        again = rows(run(second, *train, **shared).stdout)
    finally:
        run(second, "python", "-m", "flows.services", "stop", check=False, **shared)
    assert {what for what, _ in again.values()} <= {"cached", "restored"}
    assert {stage: link for stage, (_, link) in again.items()} == {stage: link for stage, (_, link) in made.items()}
    for name_ in ("model.safetensors", "config.json"):
        assert (second / "models/base" / name_).read_bytes() == (first / "models/base" / name_).read_bytes()
    assert not (second / ".scriptorium" / "mlflow.db").exists()
    for database, query in {"mlflow": "select count(*) from runs", "prefect": "select count(*) from flow_run"}.items():
        address = f"postgresql://scriptorium@{postgres}/{database}"
        with psycopg2.connect(address) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            (count,) = cursor.fetchone()
        assert count >= 2, database
    import boto3

    listed = boto3.client("s3", endpoint_url=s3, **{
        "aws_access_key_id": "scriptorium", "aws_secret_access_key": "password", "region_name": "us-east-1",
    }).list_objects_v2(Bucket="scriptorium")  # fmt: skip
    tops = {item["Key"].split("/")[0] for item in listed["Contents"]}
    assert tops == {"dvc", "mlflow"}
