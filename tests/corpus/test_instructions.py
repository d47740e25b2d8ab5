"""Instructions: what is read, how it is split, and how tasks are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.instructions import Entry, kind_of, leaks, read_instructions, split_instructions
from corpus.world.instructions import some_instructions

BOOK: dict[str, Any] = {
    "train_fraction": 0.85,
    "validation_fraction": 0.05,
    "split": "file",
    "seed": 1,
    "drop_leaks": False,
}


def entry(instruction: str, given: str = "", output: str = "yes") -> Entry:
    return {"instruction": instruction, "input": given, "output": output}


MARKS = {"kind": "speech", "split": "test", "combination": True}


def test_known_fields_are_kept(tmp_path: Path) -> None:
    rows = [{"instruction": "Do", "output": "Done", "rejected": 1}, entry("Say", "é") | MARKS]
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "a.jsonl").write_text("\n\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    expected = [entry("Do", output="Done"), entry("Say", "é") | MARKS]
    assert read_instructions(tmp_path / "a.json") == read_instructions(tmp_path / "a.jsonl") == expected


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'[{"instruction": "a", "output": "b"}, {"instruction": "a"}]', 'entry 2: "output" is missing'),
        (b'[{"instruction": 1, "output": "b"}]', 'entry 1: "instruction" is a number; it must be a string'),
        (b'[{"instruction": "a", "output": " "}]', 'entry 1: "output" is empty'),
        (b'[{"instruction": "a", "input": null, "output": "b"}]', 'entry 1: "input" is null'),
        (b'[{"instruction": "\\udfff", "output": "b"}]', "surrogate"),
        (
            b'[{"instruction": "a", "output": "b", "split": "dev"}]',
            "entry 1: \"split\" is 'dev'; it must be train, validation or test",
        ),
        (b'[{"instruction": "a", "output": "b", "split": null}]', 'entry 1: "split" is None'),
        (
            b'[{"instruction": "a", "output": "b", "combination": 1}]',
            'entry 1: "combination" is 1; it must be true or false',
        ),
        (b'["a"]', "entry 1 is a string"),
        (b'{"instruction": "a"}', "holds an object; it must be a list"),
        (b"[]", "holds no entries"),
        (b'[{"instruction": "a",]', "is not JSON"),
        (b'[\n"\xff"]', r"instructions\.json:2: byte 0xff at offset 3"),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "instructions.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=words) as caught:
        read_instructions(path)
    assert str(path) in str(caught.value)


def test_a_malformed_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"instruction": "a", "output": "b"}\n{', encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.jsonl:2: not JSON"):
        read_instructions(tmp_path / "a.jsonl")


def test_file_order_is_train_then_test_then_validation() -> None:
    parts = split_instructions([entry(str(i)) for i in range(100)], **BOOK)
    order = [int(row["instruction"]) for part in ("train", "test", "validation") for row in parts[part]]
    assert order == list(range(100)) and {part: len(rows) for part, rows in parts.items()} == {
        "train": 85,
        "validation": 5,
        "test": 10,
    }


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["", "1", "2"])), max_size=15), st.booleans())
def test_leaks_are_dropped_where_they_would_flatter(pairs: list[tuple[str, str]], shuffled: bool) -> None:
    rows = [entry(f"only {i}") for i in range(40)] + [entry(*pair) for pair in pairs]
    rows += [entry(f"end {i}") for i in range(40)]
    options = BOOK | {"train_fraction": 0.5, "validation_fraction": 0.25, "split": "shuffled" if shuffled else "file"}
    whole, clean = (split_instructions(rows, **options | {"drop_leaks": drop}) for drop in (False, True))
    assert sum(map(len, whole.values())) == len(rows) and clean["train"] == whole["train"]
    assert leaks(clean["train"], clean["validation"]) == 0
    assert leaks(clean["train"] + clean["validation"], clean["test"]) == 0
    assert len(whole["validation"]) - len(clean["validation"]) == leaks(whole["train"], whole["validation"])


def test_shuffling_depends_on_seed_and_content_not_on_order() -> None:
    rows = [entry(str(i)) for i in range(50)]
    parts = split_instructions(rows, **BOOK | {"split": "shuffled"})
    assert split_instructions(rows[::-1], **BOOK | {"split": "shuffled"}) == parts
    assert split_instructions(rows, **BOOK | {"split": "shuffled", "seed": 2}) != parts
    assert parts["train"] != rows[:42]


def test_impossible_splits_are_refused() -> None:
    with pytest.raises(ValueError, match="the test part of 3 instructions is empty"):
        split_instructions([entry(str(i)) for i in range(3)], **BOOK)
    with pytest.raises(ValueError, match="must be 'file', 'shuffled' or 'given'"):
        split_instructions([entry("a")], **BOOK | {"split": "random"})


def marked(text: str, split: str, combination: bool | None = None) -> Entry:
    return entry(text) | {"split": split} | ({} if combination is None else {"combination": combination})


GIVEN: dict[str, Any] = BOOK | {"split": "given"}
MARKED = [
    marked("a", "test"),
    marked("b", "train", False),
    marked("c", "validation"),
    marked("d", "test", True),
    marked("e", "test", False),
    marked("f", "train", True),
]


def test_a_given_split_is_each_entrys_own() -> None:
    """Only what is tested can be a combination; the fractions say nothing."""
    parts = split_instructions(MARKED, **GIVEN)
    found = {part: "".join(row["instruction"] for row in rows) for part, rows in parts.items()}
    assert found == {"train": "bf", "validation": "c", "test": "ae", "combinations": "d"}
    assert split_instructions(MARKED, **GIVEN | {"train_fraction": 0.2, "validation_fraction": 0.1}) == parts
    plain = [row for row in MARKED if row["instruction"] != "d"]
    assert list(split_instructions(plain, **GIVEN)) == ["train", "validation", "test"]


def test_leaks_are_dropped_from_combinations_too() -> None:
    rows = [*MARKED, marked("b", "test", True), marked("e", "test", True), marked("a", "validation")]
    whole, clean = (split_instructions(rows, **GIVEN | {"drop_leaks": drop}) for drop in (False, True))
    assert leaks(whole["train"], whole["combinations"]) == 1
    found = {part: "".join(row["instruction"] for row in rows) for part, rows in clean.items()}
    assert found == {"train": "bf", "validation": "ca", "test": "e", "combinations": "d"}


def test_a_given_split_names_what_is_missing() -> None:
    with pytest.raises(ValueError, match=r"instruction 7, 'g', has no \"split\"; .* train, validation or test"):
        split_instructions([*MARKED, entry("g"), entry("h")], **GIVEN)
    with pytest.raises(ValueError, match="the validation part of 5 instructions is empty; mark some"):
        split_instructions([row for row in MARKED if row["split"] != "validation"], **GIVEN)


def test_the_embedded_instructions_bring_their_split() -> None:
    rows = some_instructions(150, seed=3)
    parts = split_instructions(rows, **GIVEN | {"drop_leaks": True})
    assert {part: len(found) for part, found in parts.items()} == {
        "train": 150,
        "validation": 10,
        "test": 10,
        "combinations": 10,
    }
    assert all(row["combination"] for row in parts["combinations"])


@pytest.mark.parametrize(
    ("instruction", "kind"),
    [
        ("Identify the correct spelling of the following word.", "spelling"),
        ("What is a synonym for 'begin'?", "synonym"),
        ("Rewrite the sentence using a synonym.", "rewriting"),
        ("What is the opposite of 'thin'?", "antonym"),
        ("Rewrite this sentence to eliminate the passive voice.", "voice"),
        ("Describe the process of active transport in cells.", "explanation"),
        ("Change the following sentence to past perfect tense.", "tense"),
        ("What is the past tense of 'draw'?", "word form"),
        ("Rewrite the sentence using a simile.", "figure of speech"),
        ("Classify the following numbers as even or odd.", "classification"),
        ("Convert 45 kilometers to meters.", "unit conversion"),
        ("Convert the number 5 from decimal to binary.", "number system"),
        ("What is the capital of Greece?", "factual question"),
        ("Translate 'family' into Italian.", "translation"),
        ("Edit the sentence.", "correction"),
        ("What is the chemical symbol for zinc?", "formula"),
        ("Define the term 'metaphor'.", "definition"),
        ("Mumble.", "other"),
    ],
)
def test_tasks_are_named_by_their_words(instruction: str, kind: str) -> None:
    assert kind_of(entry(instruction)) == kind
    assert kind_of(entry(instruction) | {"kind": "my own"}) == "my own"


def test_the_real_instructions(mirror: Path) -> None:
    rows = read_instructions(mirror / "instruction-data.json")
    parts = split_instructions(rows, **BOOK)
    assert {part: len(found) for part, found in parts.items()} == {"train": 935, "validation": 55, "test": 110}
    assert [row for part in ("train", "test", "validation") for row in parts[part]] == rows
    assert (leaks(parts["train"], parts["validation"]), leaks(parts["train"], parts["test"])) == (4, 2)
    clean = split_instructions(rows, **BOOK | {"drop_leaks": True})
    assert {part: len(found) for part, found in clean.items()} == {"train": 935, "validation": 51, "test": 108}
    assert sum(kind_of(row) == "other" for row in rows) < 0.05 * len(rows)


def test_a_part_that_is_no_part_is_named_in_short(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text(json.dumps({"instruction": "Say it.", "output": "It.", "split": "- " * 50_000}) + "\n")
    with pytest.raises(ValueError, match=r"tasks\.jsonl:1.*must be train, validation or test") as error:
        read_instructions(file)
    assert len(str(error.value)) < 500
