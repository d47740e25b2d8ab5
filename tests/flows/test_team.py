"""The README's section "For a team", command for command as it stands, on a tiny workspace and the real engines."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.params import dump_yaml, read_yaml
from pipeline.preset import overlay
from tests.flows.test_refresh import finished, runs_of, until
from tests.flows.test_services import free_port
from tests.tiny import EMBEDDED, ROOT, make_workspace

MAKES = {"run", "promote", "flows", "refresh", "compare", "serve"}
SMALL: dict[str, Any] = {  # what a tiny model can meet
    "download": {"world": {"text_megabytes": 0.1}},
    "tokenize": {"trained_vocab_size": 600, "train_fraction": 0.8, "validation_fraction": 0.1},
    "promote": {"min_exact_match": 0.0},
}


def commands() -> list[str]:
    """The section's ten lines, without the notes beside them."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## For a team\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [re.sub(r"\s+# .*", "", line) for line in block.splitlines()]


def bash(line: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(["bash", "-ec", line], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@contextmanager
def in_the_background(line: str, folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The command, and everything below it gone by Ctrl-C at the end; a failure shows what it said."""
    log = folder.parent / "background.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {line.removesuffix('&')}"],
            cwd=folder, env=environment, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        except BaseException:
            print(log.read_text(encoding="utf-8", errors="replace")[-20_000:])
            raise
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A clone, as it is after `make` has installed the packages: those of these tests."""
    folder = make_workspace(tmp_path / "workspace", EMBEDDED)
    own = read_yaml(folder / "conf" / "data" / "own.yaml")
    overlay(own, SMALL)
    (folder / "conf" / "data" / "own.yaml").write_text(dump_yaml(own))
    params = read_yaml(folder / "params.yaml")
    overlay(params, {"promote": {"min_accuracy": 0.0, "max_loss_share": 1.0, "max_overlap": 1.0}})
    (folder / "params.yaml").write_text(dump_yaml(params))
    (folder / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (folder / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    (folder / ".venv" / ".ready").touch()
    for source in (folder / "data" / "own").iterdir():
        source.unlink()
    return folder


def scheduled_every(seconds: int, folder: Path) -> None:
    """The night's turn, for those who can't wait."""
    file = read_yaml(folder / "prefect.yaml")
    file["deployments"][0]["schedules"] = [{"interval": seconds, "active": True}]
    (folder / "prefect.yaml").write_text(dump_yaml(file))


def ask(port: int, text: str) -> Any:
    """The served model's answer; None while nobody answers."""
    body = json.dumps({"inputs": [text]}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["predictions"]
    except urllib.error.URLError:
        return None


@pytest.mark.pipeline
def test_from_a_first_result_to_served_models(workspace: Path, server: str, home: Path) -> None:
    from prefect import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    copy, run, first, champions, flows, change, refresh, compare, promote, serve = commands()
    assert {line.split()[1] for line in commands() if line.startswith("make ")} == MAKES - {"refresh"}
    ports = {"ASSISTANT_PORT": free_port(), "CLASSIFIER_PORT": free_port()}
    ours = ("SCRIPTORIUM_", "MLFLOW_", "MAKE", "MFLAGS", "ARGS")  # `make test ARGS=…` hands its own on to other makes
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment = kept | {name: str(port) for name, port in ports.items()} | {
        "PREFECT_HOME": str(home / "prefect"), "PREFECT_API_URL": f"{server}/api",
        "SCRIPTORIUM_HOME": str(workspace / ".scriptorium"), "NO_PROXY": "127.0.0.1,localhost",
        "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@localhost",
        "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@localhost",
    }  # fmt: skip
    scheduled_every(5, workspace)

    bash(copy, workspace, environment)
    bash(run, workspace, environment)
    bash(first, workspace, environment)
    said = bash(champions, workspace, environment)
    assert said.count("promoted") >= 2, said
    began = time.time()
    with (
        in_the_background(flows, workspace, environment) as process,
        temporary_settings({PREFECT_API_URL: f"{server}/api"}),
        get_client(sync_client=True) as client,
    ):
        until(lambda: finished(client, "refresh", began, "nothing was executed"), process)
        night = client.read_deployment_by_name("refresh/refresh").id
        client.pause_deployment(night)
        until(lambda: not client.read_flow_runs(flow_run_filter=runs_of(night, "PENDING", "RUNNING")), process)

        bash(change, workspace, environment)
        said = bash(refresh, workspace, environment)
        assert "and dvc.lock" in said and "'5 ran, 3 cached'" in said, said  # texts and instructions are the same
    assert not bash("git status --porcelain", workspace, environment)
    said = bash(compare, workspace, environment)
    assert "classify pretrained: accuracy" in said, said
    (page,) = re.findall(r"^The page: (.+)$", said, re.MULTILINE)
    assert "data/own/tickets.tsv" in Path(page).read_text(encoding="utf-8")
    said = bash(promote, workspace, environment)
    assert "scriptorium-assistant version 1 champion already" in said, said
    assert re.search(r"scriptorium-classifier version 2 \w+: validation accuracy .* over 6 items", said), (
        "the champion is scored again: one ticket more is one validation item more"
    )
    with in_the_background(serve, workspace, environment) as process:
        assert until(lambda: ask(ports["CLASSIFIER_PORT"], "My blue umbrella stayed on the boat."), process)
        assert until(lambda: ask(ports["ASSISTANT_PORT"], "Where does the ferry go?"), process)
