"""The tracking server (or database) and our experiment in it. MLflow is imported here, late, and kept quiet."""

from __future__ import annotations

import logging
import os
from functools import lru_cache

from pipeline import database, paths
from pipeline.locks import hold
from pipeline.secrets import without_password

EXPERIMENT = "scriptorium"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # by default a dead server blocks every call for 247 s
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}


class Store:
    """`client` is an MlflowClient of `uri`; the experiment exists. `address`: the same for people and files."""

    def __init__(self, uri: str) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        database.check(uri, "MLFLOW_TRACKING_URI")
        import mlflow

        logging.getLogger("alembic").setLevel(logging.ERROR)
        self.uri, self.address = uri, without_password(uri)
        paths.home().mkdir(parents=True, exist_ok=True)
        with hold("mlflow-experiment", timeout_s=120):  # two that create a database at once spoil each other's work
            self.client = mlflow.MlflowClient(tracking_uri=uri)
            self.experiment_id = self._experiment()

    def find(self, tags: dict[str, str]) -> str | None:
        """The newest run with all these tags."""
        query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        order = ["attributes.start_time DESC"]
        runs = self.client.search_runs([self.experiment_id], filter_string=query, order_by=order, max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def has(self, run_id: str) -> bool:
        """Whether the run is there: a database may have been deleted since."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return True

    def _experiment(self) -> str:
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            local = not self.uri.startswith(("http:", "https:"))  # a server keeps artifacts in a place of its own
            place = paths.artifacts() if local else None
            return str(self.client.create_experiment(EXPERIMENT, place))
        if found.lifecycle_stage != "active":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, by default the SQLite file in HOME (always absolute: MLflow's own default is not)."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{paths.mlflow_db().absolute()}"


@lru_cache(maxsize=4)
def store(uri: str) -> Store:
    """One connection a process. ValueError: no such database; else what MLflow raises where no server is."""
    return Store(uri)
