"""Tells a webhook that a flow failed: SCRIPTORIUM_WEBHOOK, an http(s) address, gets a JSON object by POST.

    {"text", "flow", "run", "state", "stage", "reason", "last_lines"}        one for each stage that failed

`text` says it in one line, which is what Slack, Mattermost and their like show. `stage` is null where the flow failed
before any stage did. Nothing that goes wrong here touches the flow, and the address, often a secret, is in no log.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from typing import Any

from prefect.logging import get_logger

from pipeline import paths
from pipeline.secrets import scrubbed
from tasks.reproduce import FAILED
from tasks.summarize import load_rows

VARIABLE = "SCRIPTORIUM_WEBHOOK"
PATIENCE_S = 5.0


def tell(flow: Any, flow_run: Any, state: Any) -> None:
    """Prefect's on_failure and on_crashed hook."""
    address = os.environ.get(VARIABLE, "")
    if not address:
        return
    logger = get_logger("notify")
    try:
        for message in messages(flow.name, str(flow_run.name), str(flow_run.id), state):
            _post(address, message)
    except Exception as error:  # whatever it is; its words are left out, since they may hold the address
        status = getattr(error, "code", None)
        logger.warning(
            "%s could not be told: %s", VARIABLE, f"it answered {status}" if status else type(error).__name__
        )


def messages(flow: str, run: str, run_id: str, state: Any) -> Iterator[dict[str, Any]]:
    """What to say of a flow run that ended badly."""
    rows = [row for row in load_rows(paths.home() / "flows" / run_id / "rows.json") if row.what == FAILED]
    found: list[tuple[str | None, str, list[str]]] = [(row.stage, row.message, row.tail.splitlines()) for row in rows]
    for stage, reason, lines in found or [(None, str(state.message or state.name), [])]:
        yield {
            "text": f"{flow}: {f'{stage} failed: ' if stage else ''}{reason}",
            "flow": flow,
            "run": run,
            "state": state.name,
            "stage": stage,
            "reason": reason,
            "last_lines": lines,
        }


def _post(address: str, message: dict[str, Any]) -> None:
    if not address.startswith(("http://", "https://")):
        raise ValueError("only http and https are posted to")
    body = json.dumps(scrubbed(message), ensure_ascii=False).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"}, method="POST")  # noqa: S310
    with urllib.request.urlopen(request, timeout=PATIENCE_S):  # noqa: S310 (checked above)
        pass
