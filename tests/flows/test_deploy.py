"""prefect.yaml and the examples in deploy/, against Prefect's own schemas."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline.graph import read_mapping

ROOT = Path(__file__).resolve().parents[2]
FILES = {"prefect.yaml": "process", "deploy/docker.yaml": "docker", "deploy/kubernetes.yaml": "kubernetes"}


def variables(pool: str) -> dict[str, Any]:
    """The schema of a work pool's job variables, from the copy that Prefect's server carries."""
    import prefect.server.api

    assert prefect.server.api.__file__
    file = Path(prefect.server.api.__file__).parent / "collections_data" / "views" / "aggregate-worker-metadata.json"
    found = {kind: told for kinds in json.loads(file.read_text()).values() for kind, told in kinds.items()}
    schema: dict[str, Any] = found[pool]["default_base_job_configuration"]["variables"]
    return schema


@pytest.mark.parametrize("name", FILES)
def test_deployments_are_what_prefect_takes(name: str) -> None:
    from prefect.cli.deploy._models import ConcurrencyLimitSpec, DeploymentConfig, PrefectYamlModel, WorkPoolConfig
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger

    raw = read_mapping(ROOT / name)
    schema = variables(FILES[name])
    found = PrefectYamlModel.model_validate(raw).deployments
    assert {"refresh", "train"} <= {told.name for told in found}
    for told, plain in zip(found, raw["deployments"], strict=True):
        assert set(plain) <= set(DeploymentConfig.model_fields), "Prefect overlooks what it does not know"
        assert set(plain["concurrency_limit"]) <= set(ConcurrencyLimitSpec.model_fields)
        assert set(plain["work_pool"]) <= set(WorkPoolConfig.model_fields)
        assert plain["concurrency_limit"]["limit"] == 1
        ConcurrencyLimitStrategy(plain["concurrency_limit"]["collision_strategy"])
        for schedule in plain.get("schedules", ()):
            CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
        for trigger in plain.get("triggers", ()):
            DeploymentEventTrigger.model_validate(trigger)
        assert told.work_pool is not None
        assert set(told.work_pool.job_variables) <= set(schema["properties"])
        jsonschema.validate(told.work_pool.job_variables, {**schema, "additionalProperties": False})


@pytest.mark.parametrize("name", FILES)
def test_entry_points_and_parameters_are_those_of_the_flows(name: str) -> None:
    import ast

    for told in read_mapping(ROOT / name)["deployments"]:
        path, flow = told["entrypoint"].split(":")
        tree = ast.parse((ROOT / path).read_text())
        (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == flow]
        assert set(told.get("parameters", ())) <= {argument.arg for argument in function.args.args}
        assert re.fullmatch(r"flows/[a-z]+\.py", path) and flow == told["name"]


def test_steps_exist() -> None:
    import prefect.deployments.steps as steps

    for name in FILES:
        for step in read_mapping(ROOT / name).get("pull", ()):
            (path,) = step
            assert callable(getattr(steps, path.removeprefix("prefect.deployments.steps.")))


def test_what_make_flows_serves_is_what_prefect_yaml_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path))
    from flows.deploy import deployments

    served = {deployed.flow_name: deployed for deployed in deployments()}
    assert list(served) == ["refresh", "train", "compare", "sweep", "promote"]
    refresh = served["refresh"]
    assert refresh.concurrency_limit == 1 and refresh.concurrency_options.collision_strategy == "CANCEL_NEW"
    (nightly,) = refresh.schedules
    assert (nightly.schedule.cron, nightly.schedule.timezone, nightly.active) == ("0 3 * * *", "Etc/UTC", True)
    assert refresh.work_pool_name is None and refresh.entrypoint == "flows/refresh.py:refresh"


def test_what_a_worker_had_is_served_from_here(server: str, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """`make worker` on one day, `make flows` on the next."""
    from prefect import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(home))
    from flows.deploy import deployments, take_over

    (served,) = [deployed for deployed in deployments() if deployed.flow_name == "compare"]
    with temporary_settings({PREFECT_API_URL: f"{server}/api"}), get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="yesterday", type="process"))
        flow = client.create_flow_from_name("compare")
        worked_on = client.create_deployment(flow, "compare", entrypoint=served.entrypoint, work_pool_name="yesterday")
        assert client.read_deployment(worked_on).path is None, "a worker goes to where its pull step says"
        take_over([served])
        served.apply()
        now = client.read_deployment(worked_on)
        client.delete_deployment(worked_on)
    assert (now.path, now.work_pool_name, now.pull_steps) == (".", None, None)


def test_compose_listens_on_the_loopback_only_is_pinned_and_holds_no_password() -> None:
    explained = (ROOT / ".env.example").read_text()
    services = read_mapping(ROOT / "compose.yaml")["services"]
    ports = [port for service in services.values() for port in service["ports"]]
    for port in ports:
        address, outside, _ = port.split(":")
        assert address == "127.0.0.1" and f"127.0.0.1:{outside}" in explained
    secrets = {}
    for service in services.values():
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+(\.\d+)?", service["image"]), (
            "an image without a version changes by itself"
        )
        secrets |= {n: v for n, v in service["environment"].items() if "PASSWORD" in n or "KEY" in n}
    assert len(secrets) == 3
    for value in secrets.values():
        (variable,) = re.findall(r"^\$\{([A-Z_]+):\?set \1 in \.env\}$", value)
        assert f"#{variable}=" in explained


def test_every_variable_that_the_code_reads_is_explained() -> None:
    explained = set(re.findall(r"^#([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    handed_down = {"PARENT", "PROGRESS", "RECEIPT", "TOGETHER"}  # from the flow to its stages, and to their processes
    packages = ("corpus", "flows", "gpt", "pipeline", "serving", "stages", "tasks")
    read = {
        name
        for package in packages
        for file in (ROOT / package).rglob("*.py")
        for name in re.findall(r"[\"' ](SCRIPTORIUM_[A-Z]+)\b", file.read_text())
        if name.removeprefix("SCRIPTORIUM_") not in handed_down
    }
    assert read and read <= explained
