"""Instructions: what is held out is held out, every word and kind is met, and the answers are right."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from corpus.world.held_out import reserved
from corpus.world.instructions import forms, overlaps, some_instructions
from corpus.world.lexicon import NUMBERS
from corpus.world.stories import story
from corpus.world.tasks import TASKS

ENTRIES = some_instructions(6000, 123)
TRAIN = [entry for entry in ENTRIES if entry["split"] == "train"]


def test_sizes_and_kinds():
    assert Counter((entry["split"], entry["combination"]) for entry in ENTRIES) == {
        ("train", False): 6000, ("validation", False): 400, ("test", False): 400, ("test", True): 400,
    }  # fmt: skip
    assert len(TASKS) == 13
    assert set(Counter(entry["kind"] for entry in TRAIN).values()) == {461, 462}
    assert all(1 <= len(entry["output"].split()) <= 12 for entry in ENTRIES)


def test_nothing_held_out_is_in_training():
    assert overlaps(ENTRIES) == {"pairs": 0, "texts": 0, "combinations": 0}


def test_overlaps_are_counted():
    copy = {**TRAIN[9], "split": "test"}  # a sentence or a scene
    known = next(entry for entry in TRAIN if entry["about"])
    false = {**known, "instruction": "New?", "split": "test", "combination": True}
    assert copy["input"]
    assert overlaps([*TRAIN, copy]) == {"pairs": 1, "texts": 1, "combinations": 0}
    assert overlaps([*TRAIN, false])["combinations"] == 1


def test_every_word_held_out_from_a_kind_is_met_in_others():
    asked_and_said = " ".join(f"{entry['instruction']} {entry['input']} {entry['output']}" for entry in TRAIN)
    said = Counter(re.findall(r"\w+", asked_and_said.lower()))
    for kind in TASKS:
        asked = {entry["about"] for entry in ENTRIES if entry["combination"] and entry["kind"] == kind}
        assert asked <= reserved(kind)
        assert all(sum(said[form] for form in forms(word)) >= 5 for word in asked)


def test_all_words_stand_in_the_stories():
    stories = set(re.findall(r"\w+", " ".join(story(123, i).text for i in range(3000)).lower()))
    asked = " ".join(f"{entry['instruction']} {entry['input']} {entry['output']}" for entry in ENTRIES).lower()
    assert set(re.findall(r"\w+", asked)) - stories == set()


def test_answers_are_right():
    """Where the text alone says what is right."""
    for entry in ENTRIES:
        given = f"{entry['instruction']} {entry['input']}"
        words = re.search(r"(?:: |The words are )([a-z, ]+)[.?]", given)
        answer = entry["output"].rstrip(".").lower()
        if entry["kind"] == "sorting":
            assert answer == ", ".join(sorted(words[1].split(", ")))
        elif entry["kind"] == "counting":
            assert answer == NUMBERS[len(words[1].split(", "))]
        elif entry["kind"] == "arithmetic":
            a, b = [NUMBERS.index(word) for word in re.findall(r"\w+", given.lower()) if word in NUMBERS]
            right = a + b if "Add" in given or "plus" in given or "together" in given else abs(a - b)
            assert answer.split()[0] == NUMBERS[right]
        elif entry["kind"] == "facts":
            assert answer.split()[-1] in re.findall(r"\w+", entry["input"].lower())


def test_sizes_that_can_not_be_met_are_refused():
    with pytest.raises(ValueError, match="instructions is 3"):
        some_instructions(3, 123)
