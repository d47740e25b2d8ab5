"""Comments are not inputs: the flow takes the outputs as they are, and dvc.lock is the one that `dvc repro` writes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import ledger, syntax, tracking
from pipeline.fingerprint import digest, locked_inputs, locked_outputs
from tasks.dvc_repo import accept_comments, lock_entries, statuses
from tasks.plan import make_plan
from tasks.reproduce import Setting, reproduce
from tests.tasks.tiny_repo import dvc, set_number

STAGES = ["root", "left", "right", "join"]


@pytest.fixture
def known(done: Path) -> Path:
    """The repository after a flow: the versions of its code are remembered."""
    happened = [reproduce(stage, Setting(done, done.parent / "scratch"), print).what for stage in STAGES]
    assert happened == ["cached"] * 4
    return done


def edit(repo: Path, old: str, new: str) -> None:
    text = (repo / "work.py").read_text()
    assert old in text
    (repo / "work.py").write_text(text.replace(old, new, 1))


def flow(repo: Path, log: Callable[[str], None] = print) -> list[str]:
    return [reproduce(stage, Setting(repo, repo.parent / "scratch"), log).what for stage in STAGES]


def test_an_edit_of_comments_runs_nothing_and_ends_with_the_lock_of_dvc_repro(known: Path, tmp_path: Path) -> None:
    edit(known, "import sys", '"""Writes a number."""\nimport   sys  # for its arguments')
    shutil.copytree(known, tmp_path / "other")
    plan = make_plan(known)
    assert {stage.action for stage in plan.stages} == {"comments only"} and plan.nothing_to_do
    assert str(plan).splitlines()[0] == "root   comments only  only comments changed in work.py"
    lines: list[str] = []
    assert flow(known, lines.append) == ["comments only"] * 4
    assert lines[0] == "root: only comments changed in work.py: its outputs are taken as they are"
    assert flow(known) == ["cached"] * 4
    assert "Running stage" in dvc(tmp_path / "other", "repro").stdout
    assert (known / "dvc.lock").read_bytes() == (tmp_path / "other" / "dvc.lock").read_bytes()
    assert "Running stage" not in dvc(known, "repro").stdout


def test_after_that_the_run_cache_knows_the_result_and_the_old_text_is_the_same_program(known: Path) -> None:
    before = (known / "dvc.lock").read_bytes()
    edit(known, "import sys", "import sys  # words")
    assert flow(known) == ["comments only"] * 4
    set_number(known, "root", 2)
    assert flow(known) == ["ran"] * 4
    set_number(known, "root", 1)
    assert flow(known) == ["restored"] * 4
    edit(known, "import sys  # words", "import sys")
    assert flow(known) == ["comments only"] * 4
    assert (known / "dvc.lock").read_bytes() == before


def test_the_outputs_still_lead_to_the_run_that_made_them(known: Path) -> None:
    def made(stage: str) -> tuple[str, str]:
        entry = lock_entries(known)[stage]
        return digest(locked_inputs(entry)), digest(locked_outputs(entry))

    inputs, outputs = made("left")
    ledger.append({"stage": "left", "inputs": inputs, "outputs": outputs, "key": "left-1", "run_id": "run-1"})
    edit(known, "import sys", "import sys  # words")
    flow(known)
    assert made("left")[0] != inputs and made("left")[1] == outputs
    assert tracking.find_run("left", *made("left")) == "run-1"
    assert tracking.find_run("left", "of no run", outputs) == "run-1"
    assert tracking.find_run("left", inputs, "of no run") is None


@pytest.mark.parametrize("what", ["code", "parameter", "output", "data", "command"])
def test_with_anything_else_changed_it_runs(known: Path, what: str) -> None:
    edit(known, "import sys", "import sys  # words")
    if what == "code":
        edit(known, '"+".join', '"-".join')
    if what == "parameter":
        set_number(known, "left", 2)
    if what == "output":
        (known / "left.txt").unlink()
    if what == "data":
        (known / "root.txt").write_text("edited")
    if what == "command":
        (known / "dvc.yaml").write_text((known / "dvc.yaml").read_text().replace("left.txt root", "left.txt  root"))
    planned = {stage.name: stage for stage in make_plan(known).stages}
    assert planned["left"].action in ("run", "may run")
    assert not accept_comments(known, "left")
    assert planned["root"].action == ("run" if what in ("code", "data") else "comments only")


def test_unknown_code_runs(done: Path) -> None:
    edit(done, "import sys", "import sys  # words")
    assert {stage.action for stage in make_plan(done).stages} == {"run"}
    assert not statuses(done, ["left"])["left"].comments and not accept_comments(done, "left")


def test_what_is_edited_in_the_very_moment_is_not_taken(known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (known / "dvc.lock").read_bytes()
    edit(known, "import sys", "import sys  # words")
    parse = syntax.syntax_digest

    def parsed_then_edited(source: bytes) -> str:
        edit(known, '"+".join', '"-".join')
        return parse(source)

    monkeypatch.setattr(syntax, "syntax_digest", parsed_then_edited)
    assert not accept_comments(known, "left")
    assert (known / "dvc.lock").read_bytes() == before
