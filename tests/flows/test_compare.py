"""The compare flow with real git, DVC, MLflow's journal and a real Prefect server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tasks.test_references import commit
from tests.tasks.tiny_repo import dvc, run, set_number


def test_two_commits_side_by_side(server, done, at_home, monkeypatch, capfd):
    from prefect import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.compare import main

    monkeypatch.setenv("PREFECT_HOME", str(at_home / "prefect"))
    commit(done, "first")
    run(done, "git", "tag", "first")
    set_number(done, "right", 2)
    dvc(done, "repro")

    assert main(["first", "workspace", "--name", "two"]) == 0
    page = at_home / "comparisons" / "two" / "comparison.html"
    assert f"The page: {page}" in capfd.readouterr().out
    assert "right.number" in page.read_text()
    with temporary_settings({PREFECT_API_URL: f"{server}/api"}), get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["scriptorium-comparison"]))
        (artifact,) = client.read_artifacts(artifact_filter=wanted)
    assert artifact.data == (page.parent / "comparison.md").read_text()
    (journal,) = (at_home / "journal").glob("compare-*")
    events = [json.loads(line) for line in (journal / "events.jsonl").read_text().splitlines()]
    assert events[0]["params"] == {"A": "first", "B": "workspace"}
    assert [Path(event["file"]).name for event in events if event["type"] == "artifact"] == [
        "comparison.html",
        "comparison.md",
    ]
    assert events[-1]["status"] == "FINISHED"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["workspace"], "a comparison takes two results or more"),
        (["workspace", "nonsense"], "'nonsense' is not known here: allowed are"),
        (["workspace", "HEAD", "--name", "../x"], "--name is '../x': allowed is a plain folder name"),
    ],
)
def test_a_mistake_is_one_sentence_and_starts_nothing(done, at_home, capsys, arguments, says):
    from flows.compare import main

    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and says in said and said.count("\n") == 1
    assert not (at_home / "comparisons" / "workspace_HEAD").exists()
