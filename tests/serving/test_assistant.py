"""An assistant from its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.assistant import Assistant
from tests.serving.conftest import CONTEXT_LENGTH, MAX_NEW_TOKENS

ENTRIES = [("What is the plural of cat?", ""), ("Repeat the word.", "river"), ("Call me.", "")]


@pytest.fixture(scope="module")
def assistant(folders: dict[str, Path]) -> Assistant:
    return Assistant.load(folders["assistant"], folders["tokenizer"])


def n_tokens(assistant: Assistant, answers: list[str]) -> list[int]:
    return [len(assistant.encoding.encode_ordinary(answer)) for answer in answers]


def test_greedy_answers_are_the_same_alone_and_among_others(assistant: Assistant) -> None:
    answers = assistant.answers(ENTRIES)
    assert answers == [assistant.answers([entry])[0] for entry in ENTRIES]
    assert any(answers)
    assert answers == assistant.answers(ENTRIES, seed=9)


def test_the_seed_decides_what_is_drawn(assistant: Assistant) -> None:
    first, again, other = (assistant.answers(ENTRIES, temperature=2.0, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_input_belongs_to_the_prompt(assistant: Assistant) -> None:
    prompt = assistant.encoding.decode(assistant.prompt_tokens("Repeat the word.", "river"))
    assert prompt == "<|user|>\nRepeat the word.\nriver\n<|assistant|>\n"


def test_an_answer_can_be_shorter_but_not_longer_than_the_model_allows(assistant: Assistant) -> None:
    whole, one = assistant.answers(ENTRIES), assistant.answers(ENTRIES, max_new_tokens=1)
    assert assistant.answers(ENTRIES, max_new_tokens=MAX_NEW_TOKENS) == whole
    assert sum(n_tokens(assistant, one)) < sum(n_tokens(assistant, whole))
    for wrong in (0, MAX_NEW_TOKENS + 1):
        with pytest.raises(ValueError, match=f"max_new_tokens is {wrong}: 1 to {MAX_NEW_TOKENS} are allowed"):
            assistant.answers(ENTRIES, max_new_tokens=wrong)


def test_a_prompt_that_leaves_no_room_is_refused(assistant: Assistant) -> None:
    around = len(assistant.prompt_tokens(""))
    room = CONTEXT_LENGTH - 1 - around
    assert len(assistant.prompt_tokens("§" * (room // 2))) <= CONTEXT_LENGTH - 1  # two bytes, so two tokens each
    with pytest.raises(ValueError, match=f"at most {CONTEXT_LENGTH - 1} are allowed"):
        assistant.answers([ENTRIES[0], ("§" * room, "")])


def test_an_answer_in_pieces_is_the_same_answer(assistant: Assistant) -> None:
    for entry in ENTRIES:
        assert "".join(assistant.stream(*entry)) == assistant.answers([entry])[0]
        drawn = {"temperature": 1.5, "top_k": 20, "seed": 3, "max_new_tokens": 4}
        assert "".join(assistant.stream(*entry, **drawn)) == assistant.answers([entry], **drawn)[0]
    assert len(list(assistant.stream(*ENTRIES[0]))) > 1
    with pytest.raises(ValueError, match="tokens: at most"):
        assistant.stream("§" * CONTEXT_LENGTH)


def test_no_questions_give_no_answers(assistant: Assistant) -> None:
    assert assistant.answers([]) == []
