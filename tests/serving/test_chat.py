"""The chat: through pipes in this process, and on a terminal in one of its own."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gpt.compact import FORMATS, Int8Linear
from serving.chat import main
from serving.complete import Writer
from serving.session import printable
from serving.shelf import WEIGHTS, Shelf
from tests.serving.conftest import CONTEXT_LENGTH

ROOT = Path(__file__).resolve().parents[2]
Chat = Callable[..., tuple[int, str, str]]


@pytest.fixture
def chat(workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Chat:
    """Runs the command in the workspace: (exit status, output, error output)."""

    def run(*arguments: str, given: str = "", place: Path = workspace) -> tuple[int, str, str]:
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, "stdin", io.StringIO(given))
        status = main(list(arguments))
        return status, *capsys.readouterr()

    return run


def test_an_answer_a_line_and_nothing_else(chat: Chat, workspace: Path) -> None:
    questions = [("What is the plural of cat?", ""), ("Repeat the word.", "river"), ("Call me.", "")]
    answers = Shelf(workspace).assistant.answers(questions)
    given = "What is the plural of cat?\r\n/temperature 0\nRepeat the word. | river\n\nCall me.\n/quit\nNever."
    expected = [printable(line).replace("\n", " ") for line in (*answers[:2], "", answers[2])]
    assert chat(given=given) == (0, "".join(line + "\n" for line in expected), "")


def test_a_line_that_cannot_be_answered_is_empty_and_the_others_are_answered(chat: Chat) -> None:
    status, out, err = chat(given=f"/foo\n{'§' * CONTEXT_LENGTH}\n/classify Win!\n")
    assert status == 1
    assert out.startswith("\n\n") and out.count("\n") == 3
    first, second = err.splitlines()
    assert first.startswith("error: line 1: /foo is no command")
    assert second.startswith("error: line 2: the prompt has")


def test_one_text_or_every_line_of_the_input(chat: Chat, workspace: Path) -> None:
    texts = ["Win!", "/not a command", "The cat sees the dog."]
    labels = Shelf(workspace).classifier.classify(texts)
    status, out, _ = chat("--classify", given="\n".join(texts))
    assert status == 0
    assert [line.split("\t")[0] for line in out.splitlines()] == labels
    assert chat("--classify", texts[0]) == (0, out.splitlines()[0] + "\n", "")


def test_one_completion(chat: Chat, workspace: Path) -> None:
    writer = Writer.load(workspace / "models/base", workspace / "data/tokenizer")
    written = "".join(writer.stream("The cat", max_new_tokens=5, top_k=1, seed=4))
    options = ("--max-new-tokens", "5", "--top-k", "1", "--seed", "4")
    assert chat("--complete", "The cat", *options) == (0, f"The cat{printable(written)}\n", "")


@pytest.mark.parametrize("mode", ["instruct", "complete", "classify"])
def test_without_models_one_sentence_says_how_to_make_them(chat: Chat, tmp_path: Path, mode: str) -> None:
    for arguments, given in (((f"--{mode}", "text"), ""), ((f"--{mode}",), "text\nmore\n")):
        status, out, err = chat(*arguments, given=given, place=tmp_path)
        assert (status, out) == (1, "")
        assert err.startswith("error: models/") and err.endswith(" is missing: `make run` makes it\n")


def test_settings_out_of_range_are_refused(chat: Chat) -> None:
    assert chat("--complete", "The cat", "--top-p", "2") == (
        1,
        "",
        "error: top_p is 2.0: it must be above 0 and at most 1, or none\n",
    )


def test_weights_in_fewer_bytes_answer_for_themselves(
    chat: Chat, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert WEIGHTS == FORMATS
    writer = Writer.load(workspace / "models/base", workspace / "data/tokenizer", "int8")
    assert isinstance(writer.model.head, Int8Linear)
    written = "".join(writer.stream("The cat", temperature=0.0, max_new_tokens=30))
    exact = Writer.load(workspace / "models/base", workspace / "data/tokenizer")
    assert written != "".join(exact.stream("The cat", temperature=0.0, max_new_tokens=30))
    options = ("--max-new-tokens", "30", "--temperature", "0", "--weights", "int8")
    assert chat("--complete", "The cat", *options) == (0, f"The cat{printable(written)}\n", "")
    with pytest.raises(SystemExit, match="2"):
        chat("--weights", "int4")
    assert "argument --weights: invalid choice: 'int4'" in capsys.readouterr().err


class Terminal:
    """The chat on a terminal of its own."""

    def __init__(self, workspace: Path, home: Path) -> None:
        ours, theirs = pty.openpty()
        environment = os.environ | {"PYTHONPATH": str(ROOT), "SCRIPTORIUM_HOME": str(home), "TERM": "dumb"}
        command = [sys.executable, "-m", "serving.chat", "--max-new-tokens", "6"]
        self.process = subprocess.Popen(
            command, cwd=workspace, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # makes it the controlling terminal
        )  # fmt: skip
        os.close(theirs)
        self.ours = ours

    def until(self, text: str) -> str:
        """What is shown up to and with `text`."""
        shown = ""
        while text not in shown:
            ready, _, _ = select.select([self.ours], [], [], 120)
            assert ready, f"{text!r} never came, only {shown!r}"
            shown += os.read(self.ours, 1).decode(errors="replace")
        return shown

    def type(self, keys: str) -> None:
        os.write(self.ours, keys.encode())


def test_a_conversation_on_a_terminal(workspace: Path, tmp_path: Path) -> None:
    terminal = Terminal(workspace, tmp_path)
    assert "/help" in terminal.until("> ")
    terminal.type("/classify Win a prize\n")
    assert "ham" in terminal.until("\n> ")
    terminal.type("/foo\n")
    assert "error: /foo is no command" in terminal.until("\n> ")
    terminal.type("half a quest")
    terminal.until("half a quest")
    terminal.type("\x03")  # Ctrl-C gives up the line
    terminal.until("\n> ")
    terminal.type("Call me.\n")
    terminal.until("\n> ")
    terminal.type("\x04")  # Ctrl-D
    assert terminal.process.wait(timeout=60) == 0
    os.close(terminal.ours)
    assert "/classify Win a prize" in (tmp_path / "chat_history").read_text()


def test_a_terminal_without_models_is_left_with_one_sentence(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, tmp_path)
    assert "error: models/assistant/pretrained is missing" in terminal.until("makes it")
    assert terminal.process.wait(timeout=60) == 1
    os.close(terminal.ours)
