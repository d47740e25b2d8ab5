"""What nobody needs any more goes; what is young, in use or not sent yet stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pipeline import paths
from pipeline.gc import collect, main
from pipeline.journal import FAILED, Journal, Sent
from pipeline.locks import hold


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def old(folder: Path, days: float = 10) -> Path:
    """The folder with a file in it, both untouched for some days."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").write_text("x")
    then = time.time() - days * 86400
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (then, then))
    return folder


def ended_journal(key: str) -> Path:
    journal = Journal(key)
    journal.write("start", name="toy", parent=None, params={}, tags={})
    journal.end(FAILED)
    return journal.folder


def test_what_lay_untouched_is_removed(home: Path) -> None:
    abandoned = [
        old(paths.checkpoints("toy", "f1")),
        old(paths.parked("toy", "f2")),
        old(paths.parked("toy", "f3.tmp")),
    ]
    young = old(paths.checkpoints("toy", "f4"), days=3)
    written = old(paths.checkpoints("toy", "f5"))
    (written / "file").write_text("again")
    assert len(collect(7)) == 3
    assert not any(folder.exists() for folder in abandoned)
    assert young.exists() and written.exists()
    assert len(collect(2)) == 1 and not young.exists()


def test_what_a_run_holds_stays(home: Path) -> None:
    used = old(paths.checkpoints("toy", "f1"))
    with hold("toy-f1"):
        assert collect(0) == [] and used.exists()
    assert len(collect(0)) == 1


def test_journals_go_once_their_run_has_ended_and_was_sent(home: Path) -> None:
    sent, unsent = ended_journal("toy-1"), ended_journal("toy-2")
    open_one = Journal("toy-3")
    open_one.write("start", name="toy", parent=None, params={}, tags={})
    for journal in (sent, open_one.folder):
        Sent("uri", "1", "run", (journal / "events.jsonl").stat().st_size).save(journal.name)
    for journal in (sent, unsent, open_one.folder):
        old(journal)
    assert [line.split()[0] for line in collect(7)] == ["journal/toy-1"]
    assert unsent.exists() and open_one.folder.exists()


def test_the_command_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old(paths.checkpoints("toy", "f1"))
    assert main([]) == 0
    assert capsys.readouterr().out == "removed checkpoints/toy/f1 (0.0 MB)\n"
    assert main(["--days", "3"]) == 0
    assert capsys.readouterr().out == "nothing was left untouched for 3 days\n"
    with pytest.raises(SystemExit):
        main(["--days", "-1"])
