"""The deployments of prefect.yaml, put to work: with their schedules, from one process or through a work pool.

    python -m flows.deploy serve        (make flows)    one process: schedules and runs; paused when it ends
    python -m flows.deploy worker       (make worker)   deploys to the pool and works on what is due there

Both talk to the Prefect server that PREFECT_API_URL names, by default to ours on 127.0.0.1.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from flows import services

services.configure()  # before Prefect reads its settings

from prefect import get_client, serve
from prefect.cli.deploy._models import PrefectYamlModel
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_API_URL, temporary_settings

from pipeline.graph import read_mapping

FILE = Path("prefect.yaml")
POOL = "scriptorium"


def deployments(file: Path = FILE) -> list[RunnerDeployment]:
    """Each deployment of the file as one that a process serves itself; its work pool is left out."""
    found = []
    for told in PrefectYamlModel.model_validate(read_mapping(file)).deployments:
        raw = told.model_dump(exclude_none=True)
        limit = raw["concurrency_limit"]
        deployed: Any = load_flow_from_entrypoint(raw["entrypoint"]).to_deployment(
            raw["name"],
            description=raw.get("description"),
            tags=raw.get("tags"),
            parameters=raw.get("parameters"),
            schedules=[_schedule(schedule) for schedule in raw.get("schedules", ())],
            triggers=raw.get("triggers"),
            concurrency_limit=ConcurrencyLimitConfig(
                limit=limit["limit"], collision_strategy=ConcurrencyLimitStrategy(limit["collision_strategy"])
            ),
        )
        found.append(deployed)
    return found


def _schedule(told: dict[str, Any]) -> DeploymentScheduleCreate:
    zone = told.get("timezone", "Etc/UTC")
    schedule: CronSchedule | IntervalSchedule
    if "cron" in told:
        schedule = CronSchedule(cron=told["cron"], timezone=zone)
    else:
        schedule = IntervalSchedule(interval=told["interval"], timezone=zone)
    return DeploymentScheduleCreate(schedule=schedule, active=told.get("active", True))


def take_over(served: Sequence[RunnerDeployment]) -> None:
    """What a worker had leaves its pool, and is run from here. Prefect's own update sets neither: these runs would not
    find their code."""
    with get_client(sync_client=True) as client:
        for name in (f"{told.flow_name}/{told.name}" for told in served):
            with suppress(ObjectNotFound):  # never deployed yet
                known = client.read_deployment_by_name(name)
                client.update_deployment(known.id, DeploymentUpdate(path=".", work_pool_name=None))


def _prefect(*arguments: str, api: str) -> list[str]:
    os.environ["PREFECT_API_URL"] = api
    return [sys.executable, "-m", "prefect", "--no-prompt", *arguments]


def work(api: str) -> int:
    """Create the pool (one run at a time), deploy everything, and work until stopped."""
    shown = subprocess.run(_prefect("work-pool", "inspect", POOL, api=api), capture_output=True)
    if shown.returncode:
        subprocess.run(_prefect("work-pool", "create", POOL, "--type", "process", api=api), check=True)
        subprocess.run(_prefect("work-pool", "set-concurrency-limit", POOL, "1", api=api), check=True)
    subprocess.run(_prefect("deploy", "--all", api=api), check=True)
    worker = _prefect("worker", "start", "--pool", POOL, api=api)
    os.execv(worker[0], worker)  # signals and exit status are the worker's own  # noqa: S606


def main(arguments: list[str]) -> int:
    """The command line; exit status 1 with one sentence when something can't be done."""
    parser = argparse.ArgumentParser(prog="python -m flows.deploy", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("action", choices=["serve", "worker"])
    action = parser.parse_args(arguments).action
    try:
        api = services.prefect_api()
        if action == "worker":
            return work(api)
        with temporary_settings({PREFECT_API_URL: api}):
            os.environ["PREFECT_API_URL"] = api  # for the processes that the runs are
            served = deployments()
            take_over(served)
            serve(*served, limit=1)
    except (ValueError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
