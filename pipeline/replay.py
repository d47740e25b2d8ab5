"""One pass over a journal: its unsent events, told to MLflow in batches, and how far that got.

Everything may be told twice without harm, so a kill between sending and remembering costs nothing: a run or a model is
found again by its tag; MLflow drops a metric point that is equal in value, time and step; the rest overwrites itself.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import journal, paths
from pipeline.journal import Sent
from pipeline.store import Store

BATCH = 1000  # metric points MLflow takes at once
PARAMS = 100
NOTE_CHARACTERS = 7900  # MLflow takes 8,000
REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS")  # no better when sent again

RunOf = Callable[[str], str | None]  # the run of another journal, by its key


class Replay:
    """`run()` sends what lies behind `state.offset`, or only sees that there is a run; `state`, saved, says how far it
    got, also when it fails.
    """

    def __init__(self, server: Store, key: str, state: Sent, *, run_of: RunOf) -> None:
        self.server, self.client, self.key, self.state = server, server.client, key, state
        self.run_of = run_of
        self.folder = paths.journal() / key
        self.points: list[Any] = []

    def run(self, begin_only: bool = False) -> None:
        try:
            offset = self.state.offset
            for event, end in journal.events(self.key, offset):
                if begin_only and self.state.run_id:
                    return
                if event["type"] != "metrics":
                    self._flush(offset)
                    self._send(event)
                    self.state.offset = end
                else:
                    self._gather(event)
                    if len(self.points) >= BATCH:
                        self._flush(end)
                offset = end
            self._flush(offset)
        finally:
            self.state.save(self.key)

    def _send(self, event: dict[str, Any]) -> None:
        if event["type"] == "start":
            self._start(event)  # without a run nothing else can be sent
        else:
            self._try(event["type"], getattr(self, f"_{event['type']}"), event)

    def _start(self, event: dict[str, Any]) -> None:
        from mlflow.entities import Param

        tags = {**event["tags"], "scriptorium.key": self.key}
        known = self.state.run_id or self.server.find({"scriptorium.key": self.key})
        if event["parent"] and (parent := self.run_of(event["parent"])):
            tags["mlflow.parentRunId"] = parent
        if known is None:
            run = self.client.create_run(
                self.server.experiment_id, start_time=event["time"], tags=tags, run_name=event["name"]
            )
            known = run.info.run_id
        self.state.run_id = known
        self.state.save(self.key)
        self.client.update_run(known, status="RUNNING")
        params = [Param(name, str(value)) for name, value in event["params"].items()]
        for first in range(0, len(params), PARAMS):
            self._try("params", self.client.log_batch, known, params=params[first : first + PARAMS])
        self._tags({"values": tags})

    def _tags(self, event: dict[str, Any]) -> None:
        from mlflow.entities import RunTag

        tags = [RunTag(name, str(value)) for name, value in event["values"].items()]
        self.client.log_batch(self._run_id, tags=tags)

    def _dataset(self, event: dict[str, Any]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"uri": event["path"]})
        dataset = Dataset(name=event["name"], digest=event["digest"], source_type="local", source=source)
        context = [InputTag("mlflow.data.context", event["context"])]
        self.client.log_inputs(self._run_id, datasets=[DatasetInput(dataset, context)])

    def _artifact(self, event: dict[str, Any]) -> None:
        file = self.folder / event["file"]
        if file.is_dir():
            place = "/".join(part for part in (event["folder"], file.name) if part)
            self.client.log_artifacts(self._run_id, str(file), place)
        else:
            self.client.log_artifact(self._run_id, str(file), event["folder"] or None)

    def _model(self, event: dict[str, Any]) -> None:
        """A pyfunc model from code: what MLflow's Model.log() does, in steps that can be repeated."""
        from mlflow.entities import LoggedModelOutput

        marker = f"{self.key}:{event['code']}"
        query = f"tags.`scriptorium.event` = '{marker}'"
        found = self.client.search_logged_models([self.server.experiment_id], filter_string=query)
        model = found[0] if found else self.client.create_logged_model(
            self.server.experiment_id, name=event["name"], source_run_id=self._run_id,
            tags={"scriptorium.event": marker}, model_type="pyfunc",
        )  # fmt: skip
        outputs = self.client.get_run(self._run_id).outputs
        if model.model_id not in {output.model_id for output in (outputs.model_outputs if outputs else [])}:
            self.client.log_outputs(self._run_id, [LoggedModelOutput(model.model_id, step=0)])
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch) / "model"
            try:
                self._build_model(event, model, place)
            except Exception as error:  # the model's own code
                self.client.finalize_logged_model(model.model_id, "FAILED")
                raise ValueError(f"{event['name']}: {error}") from error
            self.client.log_model_artifacts(model.model_id, str(place))
        self.client.finalize_logged_model(model.model_id, "READY")

    def _build_model(self, event: dict[str, Any], model: Any, place: Path) -> None:
        import mlflow
        from mlflow.models import Model, infer_signature

        mlflow.set_tracking_uri(self.server.uri)
        described = Model(
            artifact_path=model.artifact_location,
            run_id=self._run_id,
            model_uuid=model.model_id,
            model_id=model.model_id,
        )
        # MLflow drops params that no signature names. One without inputs still takes any: lists, and tables.
        params = event.get("params")
        mlflow.pyfunc.save_model(
            path=str(place),
            python_model=str(self.folder / event["code"]),
            artifacts={name: str(self.folder / file) for name, file in event["artifacts"].items()},
            code_paths=[str(self.folder / file) for file in event["code_paths"]] or None,
            pip_requirements=event["pip_requirements"],
            input_example=event["input_example"],
            signature=infer_signature(params=params) if params else None,
            mlflow_model=described,
        )

    def _summary(self, event: dict[str, Any]) -> None:
        rows = [self._linked(row) for row in event["rows"]]
        text = "\n\n".join(part for part in (event["text"], markdown_table(rows)) if part)
        self.client.log_text(self._run_id, text + "\n", "summary.md")
        self._tags({"values": {"mlflow.note.content": text[:NOTE_CHARACTERS]}})

    def _end(self, event: dict[str, Any]) -> None:
        self.client.set_terminated(self._run_id, status=event["status"], end_time=event["time"])

    @property
    def _run_id(self) -> str:
        assert self.state.run_id is not None, "a journal begins with a start event"
        return self.state.run_id

    def _gather(self, event: dict[str, Any]) -> None:
        from mlflow.entities import Metric

        values = event["values"].items()
        self.points += [Metric(name, float(value), event["time"], event["step"]) for name, value in values]

    def _flush(self, offset: int) -> None:
        """Send the gathered points; `offset` lies behind the last of them."""
        for first in range(0, len(self.points), BATCH):
            self._try("metrics", self.client.log_batch, self._run_id, metrics=self.points[first : first + BATCH])
        self.points = []
        self.state.offset = offset

    def _linked(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with its `run_id` (or, where that was not known, its `key`) turned into a link of MLflow's UI."""
        shown = {name: value for name, value in row.items() if name not in ("key", "run_id")}
        run_id = row.get("run_id") or (self.run_of(row["key"]) if row.get("key") else None)
        link = f"[{run_id[:8]}](#/experiments/{self.server.experiment_id}/runs/{run_id})" if run_id else ""
        return shown | {"run": link}

    def _try(self, what: str, action: Any, *arguments: Any, **named: Any) -> None:
        """An event that is refused for good must not hold up those behind it; a server in trouble is another matter."""
        from mlflow.exceptions import MlflowException

        try:
            action(*arguments, **named)
        except MlflowException as error:
            if error.error_code not in REFUSED:
                raise
            print(f"{self.key}: {what} refused: {error}", flush=True)
        except (FileNotFoundError, ValueError) as error:
            print(f"{self.key}: {what} left out: {error}", flush=True)


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """Rows with the same keys as a Markdown table."""
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[str("" if row.get(name) is None else row[name]).replace("|", "\\|") for name in rows[0]] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
