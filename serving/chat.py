"""Talk to what was trained, in the terminal or through pipes.

    make chat                                                a conversation: instructions, /complete, /classify, /help
    echo 'What is the plural of fox?' | make chat            an answer a line, and nothing else
    python -m serving.chat --complete "Long ago"             one text; without it, each line of the input is one
    python -m serving.chat --classify < messages.txt         label<TAB>probability a line

Exit status 1 where something could not be answered; its reason goes to the error output.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from pipeline import paths
from serving.commands import MODES, Command, parse
from serving.session import Session, Settings
from serving.shelf import PARTS, WEIGHTS, MissingModel, Shelf

GREETING = "Ask the assistant, or: /complete TEXT, /classify TEXT, /next TEXT, /help, /quit."
PART_OF = {"instruct": "assistant", "complete": "writer", "classify": "classifier"}
LINES = object()  # stands for a mode's TEXT that wasn't given


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    for stream in (sys.stdin, sys.stdout):
        if hasattr(stream, "reconfigure"):  # not a test's stream
            stream.reconfigure(encoding="utf-8", errors="replace")
    try:
        return start(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read the answers has enough; Python's own flush at the end must not say so
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def start(options: argparse.Namespace) -> int:
    given = {mode: getattr(options, mode) for mode in MODES if getattr(options, mode) is not None}
    mode, text = next(iter(given.items()), ("instruct", LINES))
    settings = Settings(options.temperature, options.top_k, options.top_p, options.max_new_tokens, options.seed)
    talking = text is LINES and sys.stdin.isatty() and sys.stdout.isatty()
    session = Session(Shelf(weights=options.weights), settings, plain=not talking)
    if text is not LINES:
        say(session.respond(Command(mode, str(text))))
        return 0
    if talking:
        return converse(session, mode)
    lines = (line.rstrip("\r\n") for line in sys.stdin)
    return answer(session, (Command(mode, line) for line in lines) if given else lines, mode)


def converse(session: Session, mode: str) -> int:
    """Read a line, write the answer, until Ctrl-D or /quit; what can't be answered takes one sentence."""
    gone = {part: session.shelf.missing(part) for part in PARTS}
    if all(gone.values()):
        raise MissingModel(gone[PART_OF[mode]])
    print(GREETING, flush=True)
    with suppress(ValueError):  # said when it is asked
        getattr(session.shelf, PART_OF[mode])  # PyTorch takes seconds: better now than between question and answer
    with history():
        while True:
            try:
                command = parse(input("> "), mode)
                if command.name == "quit":
                    return 0
                say(session.respond(command))
            except EOFError:
                print()
                return 0
            except KeyboardInterrupt:
                print()
            except ValueError as error:
                print(f"error: {error}", flush=True)


def answer(session: Session, items: Iterable[str | Command], mode: str) -> int:
    """One line for each item, empty where there is no answer; returns the exit status."""
    status = 0
    for number, item in enumerate(items, start=1):
        try:
            command = parse(item, mode) if isinstance(item, str) else item
            if command.name == "quit":
                break
            if command.name in ("temperature", "help"):
                list(session.respond(command))  # no question
                continue
            say(piece.replace("\n", " ") for piece in session.respond(command))
        except MissingModel:
            raise
        except ValueError as error:
            print(flush=True)
            print(f"error: line {number}: {error}", file=sys.stderr, flush=True)
            status = 1
    return status


def say(pieces: Iterable[str]) -> None:
    """A line, as it comes."""
    for piece in pieces:
        print(piece, end="", flush=True)
    print(flush=True)


@contextmanager
def history() -> Iterator[None]:
    """Line editing, and the lines of former conversations with the arrow keys, where Python has readline."""
    try:
        import readline
    except ImportError:
        yield
        return
    file = paths.home() / "chat_history"
    with suppress(OSError):
        readline.read_history_file(file)
    readline.set_history_length(1000)
    try:
        yield
    finally:
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(file)


def parser() -> argparse.ArgumentParser:
    about = argparse.ArgumentParser(prog="python -m serving.chat", description="Talk to what was trained.")
    modes = about.add_mutually_exclusive_group()
    for mode, what in (
        ("instruct", "answer an instruction (INSTRUCTION | INPUT gives it an input)"),
        ("complete", "let the base model write on"),
        ("classify", "sort a message"),
    ):
        more = "; without TEXT, every line of the input"
        modes.add_argument(f"--{mode}", nargs="?", const=LINES, metavar="TEXT", help=what + more)
    own = "0 takes the likeliest token; by default 0 for answers, 0.8 for completions"
    about.add_argument("--temperature", type=float, metavar="NUMBER", help=own)
    about.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens")
    about.add_argument("--top-p", type=float, metavar="P", help="draw from the likeliest tokens that reach this share")
    about.add_argument("--max-new-tokens", type=int, metavar="N", help="the longest answer; 200 for completions")
    fewer = "how the models' weights are held: fewer bytes write faster, and a little otherwise (docs/performance.md)"
    about.add_argument("--weights", choices=WEIGHTS, default=WEIGHTS[0], help=fewer)
    about.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn (0)")
    return about


if __name__ == "__main__":
    sys.exit(main())
