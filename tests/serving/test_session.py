"""Commands, and what a conversation answers to them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.earlier import cached_file
from pipeline.files import md5_file, md5_path
from serving.commands import Command, parse, split_input
from serving.session import Session, Settings, printable, share, visible
from serving.shelf import MissingModel, Shelf
from tests.serving.conftest import LABELS


@pytest.fixture(scope="module")
def shelf(workspace: Path) -> Shelf:
    return Shelf(workspace)


def said(session: Session, line: str) -> str:
    return "".join(session.respond(parse(line)))


@pytest.mark.parametrize(
    ("line", "mode", "command"),
    [
        ("What is it?", "instruct", Command("instruct", "What is it?")),
        ("Win now", "classify", Command("classify", "Win now")),
        ("/complete Long ago ", "classify", Command("complete", "Long ago ")),
        ("/complete", "instruct", Command("complete", "")),
        ("/quit", "complete", Command("quit", "")),
        ("", "instruct", Command("instruct", "")),
    ],
)
def test_what_a_line_means(line: str, mode: str, command: Command) -> None:
    assert parse(line, mode) == command


def test_an_unknown_command_is_refused() -> None:
    with pytest.raises(ValueError, match=r"/writ is no command: /instruct, .*/quit are allowed"):
        parse("/writ a letter")


def test_an_instruction_may_have_an_input() -> None:
    assert split_input("Who sees? | The cat | sees") == ("Who sees?", "The cat | sees")
    assert split_input("a|b ") == ("a|b", "")


def test_an_instruction_is_answered(shelf: Shelf) -> None:
    session = Session(shelf)
    assert said(session, "Repeat the word. | river") == shelf.assistant.answers([("Repeat the word.", "river")])[0]
    assert said(session, " ") == ""


def test_a_completion_shows_the_whole_text_and_another_one_each_time(shelf: Shelf) -> None:
    session, again = Session(shelf, Settings(max_new_tokens=8)), Session(shelf, Settings(max_new_tokens=8))
    first, second = said(session, "/complete The cat"), said(session, "/complete The cat")
    assert first.startswith("The cat") and second.startswith("The cat")
    assert first != second
    assert [said(again, "/complete The cat"), said(again, "/complete The cat")] == [first, second]


def test_the_temperature_of_both_kinds_of_answers(shelf: Shelf) -> None:
    session = Session(shelf, Settings(max_new_tokens=6))
    greedy = said(session, "Repeat the word.")
    said(session, "/temperature 9")
    assert {said(session, "Repeat the word.") for _ in range(3)} != {greedy}
    said(session, "/temperature 0")
    assert said(session, "/complete The cat") == said(session, "/complete The cat")
    assert "0.8" in said(session, "/temperature")
    assert session.settings.temperature is None
    for wrong in ("hot", "-1", "nan", "inf"):
        with pytest.raises(ValueError, match=f"temperature is '{wrong}': a number of at least 0 is allowed"):
            said(session, f"/temperature {wrong}")


def test_a_class_for_people_and_for_programs(shelf: Shelf) -> None:
    (row,) = shelf.classifier.probabilities(["Win!"])
    best = shelf.classifier.classify(["Win!"])[0]
    shown = said(Session(shelf), "/classify Win!")
    assert shown.startswith(f"{best} {share(row.max())}") and all(label in shown for label in LABELS)
    assert said(Session(shelf, plain=True), "/classify Win!") == f"{best}\t{row.max():.4f}"


def test_next_tokens_and_help(shelf: Shelf) -> None:
    token, probability = shelf.writer.next_tokens("The cat")[0]
    assert said(Session(shelf), "/next The cat").startswith(f"{visible(token)} {share(probability)}")
    assert "/classify" in said(Session(shelf), "/help")


def test_a_models_bytes_are_no_commands_to_the_terminal() -> None:
    assert visible(" a\x1b\n\u200b ß") == "␣a\\x1b⏎\\u200b␣ß"
    assert printable("a\x1b[2J\x9b\r\n\tß") == "a\ufffd[2J\ufffd\ufffd\n\tß"


def test_what_is_missing_is_said_and_the_rest_works(workspace: Path, tmp_path: Path) -> None:
    shutil.copytree(workspace / "data/tokenizer", tmp_path / "data/tokenizer")
    shutil.copytree(workspace / "models/base", tmp_path / "models/base")
    shutil.copytree(workspace / "models/lora", tmp_path / "models/lora")
    shutil.copytree(workspace / "models/classifier/pretrained", tmp_path / "models/classifier/random")
    shelf = Shelf(tmp_path)
    with pytest.raises(MissingModel, match=r"^models/assistant/pretrained is missing: `make run` makes it$"):
        said(Session(shelf), "What?")
    assert [shelf.missing(part) for part in ("writer", "classifier", "lora")] == ["", "", ""]
    assert shelf.lora.labels == shelf.classifier.labels == LABELS


def test_while_a_model_is_made_again_the_version_before_answers(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DVC removes a stage's outputs before it runs it: its cache still has them."""
    repo = tmp_path / "repo"
    shutil.copytree(workspace, repo)
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path / "home"))
    answered = said(Session(Shelf(repo)), "What is the plural of cat?")
    outputs = ["models/assistant", "data/tokenizer"]
    lines = ["stages:", "  instruct:", "    cmd: make", "    outs:"]
    for output in outputs:
        md5 = md5_path(repo / output)
        lines += [f"    - path: {output}", f"      md5: {md5}"]
        keep_in_cache(repo, repo / output)
        shutil.rmtree(repo / output)
    shelf = Shelf(repo)
    assert shelf.missing("assistant") == "models/assistant/pretrained is missing: `make run` makes it"
    (repo / "dvc.lock").write_text("\n".join(lines) + "\n")
    assert said(Session(Shelf(repo)), "What is the plural of cat?") == answered
    assert "models/assistant: answering with the version before, from DVC's cache" in capsys.readouterr().err
    assert not any((repo / output).exists() for output in outputs)


def keep_in_cache(repo: Path, folder: Path) -> None:
    """The folder's files and their list, where DVC's cache has them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    rows = [{"md5": md5_file(file), "relpath": file.relative_to(folder).as_posix()} for file in files]
    for file, row in zip(files, rows, strict=True):
        place = cached_file(repo / ".dvc" / "cache", row["md5"])
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    place = cached_file(repo / ".dvc" / "cache", md5_path(folder))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(sorted(rows, key=lambda row: row["relpath"]), sort_keys=True))
