"""The page's three parts: the assistant, the base model writing on, and the classifiers.

A part is built anew for every visitor. What computes runs in a thread, so that the page stays alive meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from nicegui import run, ui

from corpus.prompts import END_OF_TEXT
from corpus.scores import exact_match
from serving import examples
from serving.complete import behind
from serving.examples import Task
from serving.session import COMPLETION_TEMPERATURE, share, visible
from serving.shelf import Shelf

BARS_EVERY_S = 0.15  # while text is written
DEBOUNCE = "debounce=250"  # milliseconds without a key until what was typed is read


async def one_by_one(make: Callable[[], Iterator[str]]) -> AsyncIterator[str]:
    """The pieces of a generator that takes its time."""
    pieces = await run.io_bound(make) or iter(())  # nothing comes when the server is being stopped
    while (piece := await run.io_bound(lambda: next(pieces, None))) is not None:
        yield piece


def chips(texts: list[str], on_click: Callable[[int], Any]) -> None:
    """Examples to click."""
    if texts:
        with ui.element("div").classes("examples"):
            ui.label("Try")
            for number, text in enumerate(texts):
                ui.button(text, on_click=lambda number=number: on_click(number)).props("flat no-caps dense")


def note(sentence: str) -> None:
    """Why a part isn't there; a model may also be damaged."""
    with ui.element("div").classes("note"):
        ui.label(sentence)


class Bars:
    """Horizontal bars of the rows last shown; all rows are made at once, so that an update only moves them."""

    def __init__(self, n: int, on_click: Callable[[str], Any] | None = None) -> None:
        self.names: list[str] = []
        self.rows = []
        with ui.element("div").classes("bars" + " clickable" * bool(on_click)):
            for number in range(n):
                with ui.element("div").classes("bar") as row:
                    name = ui.label().classes("name")
                    with ui.element("div").classes("track"):
                        fill = ui.element("div").classes("fill")
                    value = ui.label().classes("value")
                if on_click:
                    row.on("click", lambda number=number: on_click(self.names[number]))
                row.set_visibility(False)
                self.rows.append((row, name, fill, value))

    def show(self, shares: list[tuple[str, float]]) -> None:
        self.names = [name for name, _ in shares]
        for number, (row, name, fill, value) in enumerate(self.rows):
            row.set_visibility(number < len(shares))
            if number < len(shares):
                name.text = label_of(shares[number][0])
                fill.style(f"width: {shares[number][1]:.2%}")
                value.text = share(shares[number][1])


def label_of(token: str) -> str:
    return "end of text" if token == END_OF_TEXT else visible(token)


class AssistantPart:
    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        if sentence := shelf.missing("assistant"):
            note(sentence)
            return
        self.tasks = examples.tasks(shelf.root)
        with ui.element("div").classes("conversation"):
            self.talk = ui.element("div").classes("talk")
        with ui.element("div").classes("card"):
            self.instruction = ui.input("Instruction").props("outlined autofocus").classes("wide")
            self.input = ui.textarea("A text that it is about (may stay empty)").props("outlined autogrow rows=1")
            self.input.classes("wide")
            with ui.element("div").classes("actions"):
                self.send = ui.button("Ask", on_click=self.ask).props("no-caps unelevated")
            self.instruction.on("keydown.enter", self.ask)
        chips([task.short for task in self.tasks], self.try_task)

    async def try_task(self, number: int) -> None:
        self.instruction.value, self.input.value = self.tasks[number].instruction, self.tasks[number].input
        await self.ask()

    async def ask(self) -> None:
        instruction, given = self.instruction.value.strip(), self.input.value.strip()
        if not instruction or not self.send.enabled:
            return
        self.send.disable()
        with self.talk:
            with ui.element("div").classes("asked"):
                ui.label(instruction)
                if given:
                    ui.label(given).classes("given")
            answer = ui.label("…").classes("answer")
        try:
            written = ""
            async for piece in one_by_one(lambda: self.shelf.assistant.stream(instruction, given)):
                written += piece
                answer.text = written
            answer.text = written or "(no answer)"
            self.compare(Task(instruction, given, written))
            self.instruction.value = self.input.value = ""
        except ValueError as error:
            answer.text = str(error)
            answer.classes("wrong")
        finally:
            self.send.enable()

    def compare(self, said: Task) -> None:
        """Of an example the right answer is known."""
        for task in self.tasks:
            if task.short == said.short:
                right = exact_match(said.output, task.output)
                verdict = "✓ right" if right else f"✗ right would be: {task.output}"
                with self.talk:
                    ui.label(f"{verdict} (a held-out example)").classes("verdict" + " right" * right)


class CompletePart:
    def __init__(self, shelf: Shelf) -> None:
        self.shelf, self.writing, self.turn = shelf, False, 0
        if sentence := shelf.missing("writer"):
            note(sentence)
            return
        openings = examples.openings(shelf.root)
        with ui.element("div").classes("columns"):
            with ui.element("div").classes("card"):
                self.text = ui.textarea("Text", value=openings[0] if openings else "", on_change=self.typed)
                self.text.props(f"outlined autogrow input-class=page {DEBOUNCE}").classes("wide")
                with ui.element("div").classes("actions"):
                    self.button = ui.button("Write on", on_click=self.write).props("no-caps unelevated")
                    ui.button("Clear", on_click=lambda: self.text.set_value("")).props("flat no-caps")
                    with ui.element("div").classes("slider"):
                        warmth = ui.label()
                        self.temperature = ui.slider(min=0, max=1.5, step=0.1, value=COMPLETION_TEMPERATURE)
                        warmth.bind_text_from(self.temperature, "value", lambda value: f"Temperature {value:.1f}")
            with ui.element("div").classes("card next"):
                ui.label("What could come next").classes("title")
                self.bars = Bars(10, self.append)
                ui.label("Click one to write it. ␣ is a blank, ⏎ a line end.").classes("hint")
        chips(openings, lambda number: self.text.set_value(openings[number]))
        ui.timer(0.1, self.typed, once=True)

    async def typed(self) -> None:
        """The bars follow what is typed, and what is written at a pace that eyes can follow."""
        if not self.writing:
            await self.show_next(self.text.value or "")

    async def show_next(self, text: str) -> None:
        try:
            likeliest = await run.io_bound(lambda: self.shelf.writer.next_tokens(text))
        except ValueError as error:
            ui.notify(str(error), type="negative")
            return
        if likeliest and text == (self.text.value or ""):  # else newer bars are on their way
            self.bars.show(likeliest)

    def append(self, token: str) -> None:
        if not self.writing and token != END_OF_TEXT and "\ufffd" not in token:  # a part of a character is no text
            text = self.text.value or ""
            self.text.value = text + "".join(behind(text, [token]))

    async def write(self) -> None:
        """Write on, or, on the second click, stop."""
        if self.writing:
            self.writing = False
            return
        self.writing, self.turn = True, self.turn + 1
        self.button.text = "Stop"
        self.text.props("readonly")
        text, temperature, shown = self.text.value or "", self.temperature.value, 0.0
        try:
            async for piece in one_by_one(
                lambda: self.shelf.writer.stream(text, temperature=temperature, seed=self.turn)
            ):
                self.text.value += piece
                if time.monotonic() - shown > BARS_EVERY_S:
                    await self.show_next(self.text.value)
                    shown = time.monotonic()
                if not self.writing:
                    break
        except ValueError as error:
            ui.notify(str(error), type="negative")
        finally:
            self.writing = False
            self.button.text = "Write on"
            self.text.props(remove="readonly")
        await self.typed()


class ClassifyPart:
    KINDS = (("classifier", "Fine-tuned classifier"), ("lora", "LoRA adapter"))

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.cards: dict[str, tuple[ui.label, Bars]] = {}
        if all(shelf.missing(part) for part, _ in self.KINDS):
            note(shelf.missing("classifier"))
            return
        messages = examples.messages(shelf.root)
        with ui.element("div").classes("card"):
            self.text = ui.textarea("Message", value=messages[0] if messages else "", on_change=self.typed)
            self.text.props(f"outlined autogrow rows=3 {DEBOUNCE}").classes("wide")
        with ui.element("div").classes("columns even"):
            for part, title in self.KINDS:
                with ui.element("div").classes("card"):
                    ui.label(title).classes("title")
                    if sentence := shelf.missing(part):
                        note(sentence)
                    else:
                        self.cards[part] = (ui.label("…").classes("label"), Bars(12))
        chips(messages, lambda number: self.text.set_value(messages[number]))
        ui.timer(0.1, self.typed, once=True)

    async def typed(self) -> None:
        text = self.text.value or ""
        await asyncio.gather(*(self.show(part, text) for part in self.cards))

    async def show(self, part: str, text: str) -> None:
        """The label in words, and the confidence in every class; nothing for an empty message."""
        headline, bars = self.cards[part]
        try:
            shares = await run.io_bound(self.shares, part, text) if text.strip() else []
        except ValueError as error:
            headline.text = str(error)
            headline.classes("wrong")
            return
        if shares is not None and text == (self.text.value or ""):
            headline.text = shares[0][0] if shares else "…"
            bars.show(shares)

    def shares(self, part: str, text: str) -> list[tuple[str, float]]:
        """(label, probability), likeliest first."""
        classifier = getattr(self.shelf, part)
        row = classifier.probabilities([text])[0]
        return sorted(zip(classifier.labels, row.tolist(), strict=True), key=lambda pair: -pair[1])
