"""A conversation with the three models: commands in, pieces of text out. Knows nothing of terminals."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from serving.commands import HELP, Command, number, split_input
from serving.shelf import Shelf

COMPLETION_TEMPERATURE = 0.8  # the assistant's is 0: its tasks have one right answer


@dataclass
class Settings:
    """temperature, None: each part's own. max_new_tokens, None: the assistant's own, and 200 of a completion."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None
    seed: int = 0


class Session:
    """plain: for programs to read, so a class is `label<TAB>probability`."""

    def __init__(self, shelf: Shelf, settings: Settings | None = None, plain: bool = False):
        self.shelf, self.settings, self.plain = shelf, settings or Settings(), plain
        self.turn = 0  # each answer draws from a seed of its own: asked again, another text comes

    def respond(self, command: Command) -> Iterator[str]:
        """The response to any command but quit, as it comes; ValueError when it can't be given."""
        for piece in getattr(self, command.name)(command.text):
            yield printable(piece)

    def instruct(self, text: str) -> Iterator[str]:
        instruction, given = split_input(text)
        if instruction:
            temperature = self.settings.temperature or 0.0
            yield from self.shelf.assistant.stream(instruction, given, temperature=temperature, **self.drawing())

    def complete(self, text: str) -> Iterator[str]:
        temperature = self.settings.temperature
        temperature = COMPLETION_TEMPERATURE if temperature is None else temperature
        continuation = self.shelf.writer.stream(text, temperature=temperature, **self.drawing())
        yield text + next(continuation, "")
        yield from continuation

    def classify(self, text: str) -> Iterator[str]:
        classifier = self.shelf.classifier
        row = classifier.probabilities([text])[0]
        ranked = sorted(zip(classifier.labels, row.tolist(), strict=True), key=lambda pair: -pair[1])
        if self.plain:
            yield "{}\t{:.4f}".format(*ranked[0])
        else:
            yield "   ".join(f"{label} {share(probability)}" for label, probability in ranked)

    def next(self, text: str) -> Iterator[str]:
        likeliest = self.shelf.writer.next_tokens(text, 8)
        yield "   ".join(f"{visible(token)} {share(probability)}" for token, probability in likeliest)

    def temperature(self, text: str) -> Iterator[str]:
        self.settings.temperature = number(text, "temperature") if text.strip() else None
        own = f"0 for answers, {COMPLETION_TEMPERATURE} for completions"
        yield f"temperature: {text.strip() or own}"

    def help(self, text: str) -> Iterator[str]:
        yield HELP

    def drawing(self) -> dict[str, Any]:
        """The seed of this draw, and the settings that were given; the others are the models' business."""
        chosen = {name: getattr(self.settings, name) for name in ("top_k", "top_p", "max_new_tokens")}
        seed = self.settings.seed + self.turn
        self.turn += 1
        return {"seed": seed} | {name: value for name, value in chosen.items() if value is not None}


def share(probability: float) -> str:
    return f"{probability:.1%}".replace("%", " %")


def visible(token: str) -> str:
    """A token whose blanks, line ends and control characters can be seen."""
    marks = {" ": "␣", "\n": "⏎", "\t": "⇥"}
    return "".join(marks.get(c) or (c if c.isprintable() else c.encode("unicode_escape").decode()) for c in token)


def printable(text: str) -> str:
    """Without control characters but line ends and tabs: a model can write any byte, a terminal's commands included."""
    return "".join("\ufffd" if unicodedata.category(c) == "Cc" and c not in "\n\t" else c for c in text)
