"""What a line typed into the chat means."""

from __future__ import annotations

from dataclasses import dataclass

MODES = ("instruct", "complete", "classify")
COMMANDS = (*MODES, "next", "temperature", "help", "quit")
HELP = """\
TEXT                  an instruction for the assistant
TEXT | INPUT          the same, with a text that it is about
/complete TEXT        let the base model write on; without TEXT it begins a new document
/next TEXT            the likeliest next tokens
/classify TEXT        sort a message
/temperature NUMBER   0 takes the likeliest token, 1 draws as learned; without NUMBER back to each part's own
/quit                 end (or Ctrl-D); Ctrl-C ends an answer"""


@dataclass(frozen=True)
class Command:
    name: str
    text: str = ""


def parse(line: str, mode: str = "instruct") -> Command:
    """A line that begins with a slash is a command, any other is for `mode`; ValueError for an unknown command."""
    if not line.startswith("/"):
        return Command(mode, line)
    name, _, text = line[1:].partition(" ")
    if name.strip() not in COMMANDS:
        allowed = ", ".join(f"/{command}" for command in COMMANDS)
        raise ValueError(f"/{name.strip()} is no command: {allowed} are allowed")
    return Command(name.strip(), text)


def split_input(text: str) -> tuple[str, str]:
    """(instruction, input) of `instruction | input`."""
    instruction, _, given = text.partition(" | ")
    return instruction.strip(), given.strip()


def number(text: str, name: str) -> float:
    """A number of at least 0; ValueError for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < float("inf"):
        raise ValueError(f"{name} is {text.strip()!r}: a number of at least 0 is allowed")
    return value
