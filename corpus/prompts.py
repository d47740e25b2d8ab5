"""Prompt templates (chapter 7.2): Alpaca's, as in the book, Phi-3's shorter one, and the embedded corpus's own.

A row of training text is `format_prompt(entry) + format_answer(entry)`; the model continues the prompt.
Nothing marks the end of an answer here: that is the end-of-text token, which the tokenizer adds.

`dialogue` lays a task out as people ask and answer in the embedded stories, what it is about first. A base model
trained on them knows that form, so that fine-tuning has the tasks to teach and no layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Template:
    """The pieces a prompt is joined from, in this order, and what a model that goes on after its answer begins with."""

    before: str
    """Stands before all else."""
    input_first: str
    """What follows an input that comes before its instruction; "": the input comes after it."""
    user: str
    """Right before the instruction."""
    input: str
    """Between instruction and input, where the input comes second."""
    answer: str
    """Right before the answer."""
    blank: str
    """Stands before an answer, and before an input that comes first: so their first words are the tokens that they are
    within a text."""
    turns: tuple[str, ...]
    """Marks of another turn."""


TEMPLATES: dict[str, Template] = {
    "alpaca": Template(
        before="Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n",
        input_first="",
        user="### Instruction:\n",
        input="\n\n### Input:\n",
        answer="\n\n### Response:\n",
        blank="",
        turns=("### Instruction:", "### Response:"),
    ),
    "phi3": Template(
        before="",
        input_first="",
        user="<|user|>\n",
        input="\n",
        answer="\n<|assistant|>\n",
        blank="",
        turns=("<|user|>", "<|assistant|>"),
    ),
    "dialogue": Template(
        before="", input_first="\n", user='"', input="", answer='" Answer:', blank=" ", turns=('\n"', '" Answer:')
    ),
}


def format_prompt(entry: Mapping[str, str], template: str) -> str:
    """Everything before the answer; the input's part is left out where the entry has none."""
    parts, given = _template(template), entry.get("input", "")
    first = parts.blank + given + parts.input_first if given and parts.input_first else ""
    second = parts.input + given if given and not parts.input_first else ""
    return parts.before + first + parts.user + entry["instruction"] + second + parts.answer


def format_answer(entry: Mapping[str, str], template: str) -> str:
    """The text to learn, which stands right behind the prompt."""
    return _template(template).blank + entry["output"]


def extract_answer(generated: str, template: str) -> str:
    """The answer in what a model wrote behind the prompt: without a repeated answer mark at its start, without what
    follows the end of text or the next turn, and without white space around it."""
    parts = _template(template)
    text = generated.strip().removeprefix(parts.answer.strip())
    for mark in (END_OF_TEXT, *parts.turns):
        text = text.partition(mark)[0]
    return text.strip()


def _template(name: str) -> Template:
    if name not in TEMPLATES:
        raise ValueError(f"template {name!r} is unknown; it must be one of {', '.join(sorted(TEMPLATES))}")
    return TEMPLATES[name]
