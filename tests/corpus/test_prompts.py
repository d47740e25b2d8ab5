"""Prompt templates: the published text, and answers found again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.prompts import TEMPLATES, extract_answer, format_answer, format_prompt

ENTRY = {"instruction": "Identify the correct spelling.", "input": "Ocassion", "output": "Occasion."}


def test_alpaca_is_the_published_text() -> None:
    assert format_prompt(ENTRY, "alpaca") + format_answer(ENTRY, "alpaca") == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nIdentify the correct spelling.\n\n### Input:\nOcassion\n\n### Response:\nOccasion."
    )
    assert "### Input" not in format_prompt(ENTRY | {"input": ""}, "alpaca")


def test_phi3_is_short() -> None:
    assert format_prompt(ENTRY, "phi3") == "<|user|>\nIdentify the correct spelling.\nOcassion\n<|assistant|>\n"
    assert format_prompt({"instruction": "Go."}, "phi3") == "<|user|>\nGo.\n<|assistant|>\n"


def test_a_dialogue_reads_like_the_embedded_stories() -> None:
    asked = {"instruction": "Where was Ada?", "input": "Ada sat in the barn.", "output": "in the barn."}
    prompt = format_prompt(asked, "dialogue")
    assert prompt + format_answer(asked, "dialogue") == ' Ada sat in the barn.\n"Where was Ada?" Answer: in the barn.'
    assert format_prompt(asked | {"input": ""}, "dialogue") == '"Where was Ada?" Answer:'
    assert extract_answer(' in the barn.\n"Who sat?" Answer: Ada.', "dialogue") == "in the barn."


@pytest.mark.parametrize("template", TEMPLATES)
def test_only_the_answer_is_taken_from_what_was_generated(template: str) -> None:
    answer_mark, user_mark = TEMPLATES[template].answer, TEMPLATES[template].user
    for generated in (
        "Occasion.",
        " Occasion.\n",
        f"{answer_mark}Occasion.",
        "Occasion.<|endoftext|>and so on",
        f"Occasion.\n\n{user_mark}Next",
        f"Occasion.{answer_mark}Again",
    ):
        assert extract_answer(generated, template) == "Occasion."
    assert extract_answer("", template) == ""


@given(
    st.text().filter(lambda text: not any(mark in text for mark in ("<|", "###", '"'))),
    st.sampled_from(sorted(TEMPLATES)),
)
def test_a_learnt_answer_is_found_again(output: str, template: str) -> None:
    assert extract_answer(format_answer(ENTRY | {"output": output}, template), template) == output.strip()


def test_an_unknown_template_is_refused() -> None:
    for use in (format_prompt, format_answer):
        with pytest.raises(ValueError, match="must be one of alpaca, dialogue, phi3"):
            use(ENTRY, "chatml")
    with pytest.raises(ValueError, match="template 'chatml' is unknown"):
        extract_answer("a", "chatml")
