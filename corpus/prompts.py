"""Prompt templates (chapter 7.2): Alpaca's, as in the book, and Phi-3's shorter one.

A row of training text is `format_prompt(entry) + format_answer(entry)`; the model continues the prompt.
Nothing marks the end of an answer here: that is the end-of-text token, which the tokenizer adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Template:
    """The pieces a prompt is joined from; `user` and `answer` are also where a model that goes on too long is cut."""

    preamble: str
    user: str
    input: str
    answer: str


TEMPLATES: dict[str, Template] = {
    "alpaca": Template(
        preamble="Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n",
        user="### Instruction:\n",
        input="\n\n### Input:\n",
        answer="\n\n### Response:\n",
    ),
    "phi3": Template(preamble="", user="<|user|>\n", input="\n", answer="\n<|assistant|>\n"),
}


def format_prompt(entry: Mapping[str, str], template: str) -> str:
    """Everything before the answer; the input's part is left out where the entry has none."""
    parts = _template(template)
    given = parts.input + entry["input"] if entry.get("input") else ""
    return parts.preamble + parts.user + entry["instruction"] + given + parts.answer


def format_answer(entry: Mapping[str, str], template: str) -> str:
    """The text to learn, which stands right behind the prompt."""
    _template(template)
    return entry["output"]


def extract_answer(generated: str, template: str) -> str:
    """The answer in what a model wrote behind the prompt: without a repeated answer mark at its start, without what
    follows the end of text or the next turn, and without white space around it."""
    parts = _template(template)
    answer, user = parts.answer.strip(), parts.user.strip()
    text = generated.strip().removeprefix(answer)
    for mark in (END_OF_TEXT, user, answer):
        text = text.partition(mark)[0]
    return text.strip()


def _template(name: str) -> Template:
    if name not in TEMPLATES:
        raise ValueError(f"template {name!r} is unknown; it must be one of {', '.join(sorted(TEMPLATES))}")
    return TEMPLATES[name]
