"""Shared services for real (make test-services): PostgreSQL below MLflow and Prefect, S3 below artifacts and DVC.

Two clones have the same .env. One trains and pushes; the other pulls, executes nothing, links to the first one's runs,
and registers what the first one trained.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipeline.graph import read_mapping
from tests.services.servers import KEY, PASSWORD, Postgres, free_port
from tests.tiny import environment_of, make_workspace, run

pytestmark = pytest.mark.services
STAGES = ["download", "tokenize", "sample", "pretrain", "lora", "classify", "instruct", "evaluate"]
WITH_ENV = 'set -a; . ./.env; set +a; exec "$@"'  # as .env.example says it for commands without make
LOOPBACK = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


@dataclass(frozen=True)
class Clones:
    first: Path
    second: Path
    made: dict[str, tuple[str, str]]
    again: dict[str, tuple[str, str]]
    printed: str


def write_env(folder: Path, values: Mapping[str, str]) -> None:
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))


def shared(folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """A command in a clone with its .env, as its user would run it."""
    return run(folder, "bash", "-c", WITH_ENV, "bash", *command, check=check, **LOOPBACK)


def train(folder: Path) -> tuple[dict[str, tuple[str, str]], str]:
    """{stage: (what happened, MLflow run)} of the closing table, and all that was printed."""
    done = shared(folder, "python", "-m", "flows.train")
    words = [line.split() for line in done.stdout.splitlines() if line.split()[:1] and line.split()[0] in STAGES]
    return {line[0]: (line[1], line[-1]) for line in words}, done.stdout + done.stderr


def objects(settings: Mapping[str, str]) -> set[str]:
    """The keys in the bucket, as the S3 server itself lists them."""
    import boto3

    client = boto3.client(
        "s3", endpoint_url=settings["AWS_ENDPOINT_URL"], region_name="us-east-1",
        aws_access_key_id="scriptorium", aws_secret_access_key=KEY,
    )  # fmt: skip
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="scriptorium")
    return {item["Key"] for page in pages for item in page.get("Contents", ())}


def stop(*folders: Path) -> None:
    for folder in folders:
        shared(folder, "python", "-m", "flows.services", "stop", check=False)


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]) -> Iterator[Clones]:
    """One clone that has trained and pushed, and one that has pulled and run."""
    place = tmp_path_factory.mktemp("clones")
    first, second = make_workspace(place / "first"), place / "second"
    write_env(first, settings)
    try:
        made, printed = train(first)
        stop(first)  # the two would be on two machines: the second starts its own server on the same database
        pushed = shared(first, "python", "-m", "tasks.share", "push")
        name = ("-c", "user.name=t", "-c", "user.email=t@localhost")
        run(first, "git", *name, "add", "-A")
        run(first, "git", *name, "commit", "-qm", "Trained")
        run(place, "git", "clone", "-q", str(first), str(second))
        shutil.copytree(first / "data" / "own", second / "data" / "own", dirs_exist_ok=True)
        write_env(second, settings)
        pulled = shared(second, "python", "-m", "tasks.share", "pull")
        again, printed_again = train(second)
        told = (printed, pushed.stdout, pushed.stderr, pulled.stdout, pulled.stderr, printed_again)
        yield Clones(first, second, made, again, "\n".join(told))
    finally:
        stop(*(folder for folder in (first, second) if folder.exists()))


def test_the_second_clone_executes_nothing_and_links_to_the_first_ones_runs(clones: Clones) -> None:
    assert {stage: what for stage, (what, _) in clones.made.items()} == dict.fromkeys(STAGES, "ran")
    assert {stage: what for stage, (what, _) in clones.again.items()} == dict.fromkeys(STAGES, "cached")
    links = {stage: link for stage, (_, link) in clones.made.items()}
    assert {stage: link for stage, (_, link) in clones.again.items()} == links and len(set(links.values())) == 8
    assert (clones.second / "dvc.lock").read_bytes() == (clones.first / "dvc.lock").read_bytes()
    for name in ("models/base/model.safetensors", "reports/evaluate/report.md"):
        assert (clones.second / name).read_bytes() == (clones.first / name).read_bytes()
    assert not list((clones.second / ".scriptorium").glob("checkpoints/*/*"))


def test_what_was_written_is_in_postgresql_and_s3_and_nothing_in_files(
    clones: Clones, postgres: Postgres, settings: dict[str, str]
) -> None:
    tags = dict(postgres.rows("mlflow", "select run_uuid, value from tags where key = 'dvc.stage'"))
    assert sorted(tags.values()) == sorted(STAGES)
    assert {run_id[:12] for run_id in tags} == {link for _, link in clones.made.values()}
    assert postgres.rows("mlflow", "select distinct status from runs") == [("FINISHED",)]
    assert postgres.rows("mlflow", "select count(*) from metrics where key = 'loss'")[0][0] > 10
    assert postgres.rows("prefect", "select name, count(*) from flow_run group by name")
    assert postgres.rows("prefect", "select state_type, count(*) from flow_run group by state_type") == [
        ("COMPLETED", 2)
    ]
    keys = objects(settings)
    assert {key.split("/")[0] for key in keys} == {"dvc", "mlflow"}
    for entry in read_mapping(clones.first / "dvc.lock")["stages"].values():
        for out in entry.get("outs", ()):
            assert f"dvc/files/md5/{out['md5'][:2]}/{out['md5'][2:]}" in keys, out["path"]
    assert sum("/files/md5/runs/" in key or key.startswith("dvc/runs/") for key in keys) >= len(STAGES)  # the run cache
    assert any(key.startswith("mlflow/") and key.endswith("model.safetensors") for key in keys)
    for folder in (clones.first, clones.second):
        home = folder / ".scriptorium"
        assert not (home / "mlflow.db").exists() and not (home / "mlartifacts").exists()
        assert not list((home / "prefect").glob("*.db"))


def test_the_registry_is_shared(clones: Clones, postgres: Postgres) -> None:
    """The second registers what the first trained; the first sees it, knows where it comes from, and can ask it."""
    done = shared(clones.second, "python", "-m", "flows.promote", "scriptorium-assistant", check=False)
    (version,) = postgres.rows("mlflow", "select name, version, run_id from model_versions")
    assert version[:2] == ("scriptorium-assistant", 1) and version[2].startswith(clones.made["instruct"][1]), (
        done.stderr
    )
    (alias,) = postgres.rows("mlflow", "select alias from registered_model_aliases")
    reference = f"scriptorium-assistant@{alias[0]}"
    lineage = shared(clones.first, "python", "-m", "tasks.trace", reference).stdout
    assert "data/own/instructions.json" in lineage
    asked = (
        "import json, sys, mlflow; model = mlflow.pyfunc.load_model('models:/' + sys.argv[1]);"
        "print(json.dumps(list(model.predict(['What is the plural of cat?']))))"
    )
    (answer,) = json.loads(shared(clones.first, "python", "-c", asked, reference).stdout.splitlines()[-1])
    assert isinstance(answer, str)


def test_the_pages_show_the_shared_databases_and_no_argument_holds_a_password(
    clones: Clones, settings: dict[str, str]
) -> None:
    try:
        shared(clones.second, "python", "-m", "flows.services", "ui")  # its Prefect server runs already
        ours = [json.loads(file.read_text()) for file in (clones.second / ".scriptorium").glob("*/server.json")]
        assert {each["port"] for each in ours} == {int(settings["MLFLOW_PORT"]), int(settings["PREFECT_PORT"])}
        for each in ours:
            server = psutil.Process(each["pid"])
            for process in (server, *server.children(recursive=True)):
                assert PASSWORD not in " ".join(process.cmdline())
        address = f"http://127.0.0.1:{settings['MLFLOW_PORT']}/api/2.0/mlflow/runs/search"
        body = json.dumps({"experiment_ids": ["1"], "max_results": 100}).encode()
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            found = {each["info"]["run_id"][:12] for each in json.load(answer)["runs"]}
        assert {link for _, link in clones.made.values()} <= found
    finally:
        stop(clones.second)


def test_make_reads_the_same_file(clones: Clones, settings: dict[str, str]) -> None:
    asked = ["make", "-s", "--eval", "told: ; @env", "told"]
    done = subprocess.run(
        asked, cwd=clones.first, env=environment_of(clones.first), check=True, capture_output=True, text=True
    )
    assert set(settings.items()) <= {tuple(line.split("=", 1)) for line in done.stdout.splitlines() if "=" in line}


def test_no_password_is_in_any_output_or_file(clones: Clones) -> None:
    secrets = (PASSWORD, KEY)
    assert not any(secret in clones.printed for secret in secrets)
    for folder in (clones.first, clones.second):
        for file in (path for path in folder.rglob("*") if path.is_file() and path != folder / ".env"):
            text = file.read_bytes()
            assert not any(secret.encode() in text for secret in secrets), file


@pytest.mark.parametrize(
    ("variable", "change", "command", "said"),
    [
        ("MLFLOW_TRACKING_URI", "password", ["pipeline.sync"], "password authentication failed"),
        ("MLFLOW_TRACKING_URI", "port", ["tasks.trace", "scriptorium-base"], "onnection refused"),
        ("MLFLOW_TRACKING_URI", "password", ["tasks.trace", "scriptorium-base"], "password authentication failed"),
        ("MLFLOW_TRACKING_URI", "database", ["tasks.trace", "scriptorium-base"], 'database "nowhere" does not exist'),
        ("MLFLOW_TRACKING_URI", "word", ["tasks.trace", "scriptorium-base"], "no address of a database"),
        ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "password", ["flows.train"], "password authentication failed"),
        ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "port", ["flows.train"], "onnection refused"),
        ("AWS_ENDPOINT_URL", "address", ["tasks.share", "push"], "AWS_ENDPOINT_URL (http://127.0.0.1"),
        ("SCRIPTORIUM_REMOTE", "bucket", ["tasks.share", "push"], "bucket does not exist"),
    ],
)
def test_a_wrong_address_or_password_is_one_sentence_without_it(
    clones: Clones, settings: dict[str, str], tmp_path: Path, variable: str, change: str, command: list[str], said: str
) -> None:
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(clones.first), str(folder)], check=True)
    (folder / ".dvc" / "cache").symlink_to(clones.first / ".dvc" / "cache")
    right, secret, port = settings[variable], "wr0ngpa55word", str(free_port())
    wrong = {
        "password": right.replace(PASSWORD, secret),
        "port": right.replace(right.rpartition(":")[2].partition("/")[0], port).replace(PASSWORD, secret),
        "database": right.rpartition("/")[0] + "/nowhere",
        "word": right.replace("://", ":"),
        "address": f"http://127.0.0.1:{port}",
        "bucket": "s3://nowhere/dvc",
    }[change]
    write_env(folder, settings | {variable: wrong, "PREFECT_PORT": str(free_port())})
    if command == ["pipeline.sync"]:
        run(
            folder,
            "python",
            "-c",
            "from pipeline.tracking import start_parent; start_parent('t')",
            SCRIPTORIUM_SYNC="0",
        )
    try:
        done = shared(folder, "python", "-m", *command, check=False)
    finally:
        stop(folder)
    told = done.stdout + done.stderr
    (sentence,) = [line for line in told.splitlines() if said in line]
    assert done.returncode == 1 and "Traceback" not in told
    assert command == ["pipeline.sync"] or sentence.startswith("error: ")
    for hidden in (PASSWORD, KEY, secret):
        assert hidden not in told
        for file in (folder / ".scriptorium").rglob("*"):
            assert not file.is_file() or hidden.encode() not in file.read_bytes(), file


def test_a_training_is_not_lost_to_a_database_that_lets_nobody_in(settings: dict[str, str], tmp_path: Path) -> None:
    folder, secret = make_workspace(tmp_path / "workspace"), "wr0ngpa55word"
    right = settings["MLFLOW_TRACKING_URI"]
    port = {"PREFECT_PORT": str(free_port())}
    write_env(folder, settings | port | {"MLFLOW_TRACKING_URI": right.replace(PASSWORD, secret)})
    try:
        done = shared(folder, "python", "-m", "flows.train", "--stages", "download")
    finally:
        stop(folder)
    told = done.stdout + done.stderr
    assert "password authentication failed" in told and "`make sync` sends it" in told
    assert "not sent yet" in done.stdout and "Traceback" not in told
    assert not any(hidden in told for hidden in (secret, PASSWORD, KEY))
    logs = b"".join(file.read_bytes() for file in (folder / ".scriptorium").rglob("*.log"))
    assert logs and secret.encode() not in logs
    write_env(folder, settings | port)
    assert "2 of 2 journals sent to postgresql://127.0.0.1:" in shared(folder, "python", "-m", "pipeline.sync").stdout
