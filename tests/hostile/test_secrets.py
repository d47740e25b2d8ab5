"""No secret reaches a log, a record or a run's parameters: real stages in an environment that is full of them."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.journal import Journal, events
from pipeline.params import check_params, load_params, read_yaml
from pipeline.secrets import holds_secret, scrubbed, without_secrets
from tasks.command import run_supervised
from tests.corpus.server import Hits, serving
from tests.hostile.secrets_run import SECRETS, leaks, run_with_secrets, workspace


@pytest.fixture
def web() -> Iterator[Hits]:
    with serving() as hits:
        yield hits


def test_a_stage_that_fails_tells_no_secret(web: Hits, tmp_path: Path) -> None:
    root = workspace(tmp_path / "w", web.url)
    receipt = tmp_path / "receipt.json"
    done = run_with_secrets(root, web.url, "python", "-m", "stages.download", SCRIPTORIUM_RECEIPT=str(receipt))
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "404" in said and "Traceback" in said
    assert web.count["/mirror/nowhere.txt"] == 1 == web.count["/nowhere.txt"]  # both were really asked
    assert leaks(root, said + receipt.read_text()) == []
    assert (root / ".scriptorium" / "logs" / "download.log").is_file()
    assert any((root / ".scriptorium" / "journal").glob("*/events.jsonl"))
    sent = run_with_secrets(root, web.url, "python", "-m", "pipeline.sync")  # the tracking server is not there
    assert sent.returncode == 1 and "127.0.0.1:9" in sent.stdout
    assert leaks(root, sent.stdout + sent.stderr) == []
    local = f"sqlite:///{root}/.scriptorium/mlflow.db"
    sent = run_with_secrets(root, web.url, "python", "-m", "pipeline.sync", MLFLOW_TRACKING_URI=local)
    assert sent.returncode == 0 and (root / ".scriptorium" / "mlflow.db").stat().st_size > 0, sent
    assert leaks(root, sent.stdout + sent.stderr) == []


def test_an_address_with_a_password_is_refused_without_showing_it(tmp_path: Path) -> None:
    tree = read_yaml("params.yaml")
    source = {"name": "a.txt", "sha256": "0" * 64, "member": None}
    for url in (
        f"https://reader:{SECRETS['netrc']}@example.org/a.txt",
        f"https://{SECRETS['netrc']}@example.org/a.txt",
        f"ftp://reader:{SECRETS['netrc']}@example.org/a.txt",
        f"zip://a.txt::https://reader:{SECRETS['netrc']}@example.org/a.zip",
        f"https://example.org/a.txt?X-Amz-Signature={SECRETS['netrc']}&b=c",
        f"https://example.org/a.txt?b=c&token={SECRETS['netrc']}",
    ):
        tree["download"]["text"] = [{**source, "url": url}]
        with pytest.raises(ValueError, match="holds a password or a signature") as caught:
            check_params(tree, "params.yaml")
        assert SECRETS["netrc"] not in str(caught.value)
    tree["download"]["text"] = {"url": f"https://reader:{SECRETS['netrc']}@example.org/"}  # wrong in another way
    with pytest.raises(ValueError, match="should be a valid list") as caught:
        check_params(tree, "params.yaml")
    assert SECRETS["netrc"] not in str(caught.value)
    assert load_params("params.yaml")
    assert not any(map(holds_secret, ["sftp://reader@example.org/a", "https://example.org/@a?b=c", "s3://a/b@c"]))


def test_what_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "kept-from-all")
    monkeypatch.setenv("DATABASE", "postgresql://u:base-word@db/x")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false-ish")
    hidden = {
        "key kept-from-all.": "key ***.",
        "the word is base-word": "the word is ***",
        "http://u:p@ss@h/x and https://t@h": "http://***@h/x and https://***@h",
        "GET /a?X=1&sig=abc%2B&b=2": "GET /a?X=1&sig=***&b=2",
        "false-ish, mail me@example.org": "false-ish, mail me@example.org",
    }
    assert {text: without_secrets(text) for text in hidden} == hidden
    assert scrubbed({"a": ["x kept-from-all", 1, None]}) == {"a": ["x ***", 1, None]}


def test_the_journal_holds_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "kept-from-all")
    journal = Journal("k")
    params = {"url": "ftp://a:b@c/d", "list": [{"url": "https://t@c"}]}
    journal.write("start", name="n", parent=None, params=params, tags={"a": "kept-from-all"})
    journal.end("FINISHED")
    first, _ = next(events("k"))
    assert first["params"] == {"url": "ftp://***@c/d", "list": [{"url": "https://***@c"}]} and first["tags"] == {
        "a": "***"
    }
    assert "kept" not in json.dumps([event for event, _ in events("k")])


def test_a_flow_hears_no_secret_from_its_commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "kept-from-all")
    code = "import os; print('a', os.environ['PREFECT_API_KEY'], 'http://u:p@h/x')"
    heard: list[str] = []
    end = run_supervised(
        [sys.executable, "-c", code], folder=tmp_path, environment=os.environ, stop=threading.Event(), log=heard.append
    )
    assert heard == ["a *** http://***@h/x"] == list(end.tail)
