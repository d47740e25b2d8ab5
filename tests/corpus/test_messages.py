"""Messages: what is read, and that the split is honest unless asked to be the book's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.messages import overlap, read_messages, split_messages
from corpus.parts import PARTS

DEFAULT: dict[str, Any] = {
    "train_fraction": 0.7,
    "validation_fraction": 0.1,
    "seed": 1,
    "balance": True,
    "book_compatible": False,
}


def table(rows: list[tuple[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["label", "text"])


def counts(frame: pd.DataFrame) -> dict[str, int]:
    return {str(label): int(n) for label, n in sorted(frame["label"].value_counts().items())}


def test_quotes_tabs_and_line_ends_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "messages"
    path.write_bytes('ham\t"open\r\nspam\ta\tb"\n\nham\tNA\u2028 é \n'.encode())
    frame = read_messages(path, ["ham", "spam"])
    assert frame["label"].tolist() == ["ham", "spam", "ham"]
    assert frame["text"].tolist() == ['"open', 'a\tb"', "NA\u2028 é "]
    assert read_messages(path, None).equals(frame)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"ham\tok\nham no tab\n", ":2: no tab"),
        (b"ham\tok\neggs\ttext\n", ":2: label 'eggs' is not one of ham, spam"),
        (b"ham\tok\nspam\t\xe9\n", ":2: byte 0xe9 at offset 12 is not UTF-8"),
        (b"ham\t \n", ":1: no text"),
        (b"\n\n", "holds no messages"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "messages").write_bytes(data)
    for book_compatible in (False, True):
        with pytest.raises(ValueError, match=f"messages{words}" if words[0] == ":" else words):
            read_messages(tmp_path / "messages", ["ham", "spam"], book_compatible=book_compatible)


def test_a_byte_order_mark_is_no_part_of_a_label(tmp_path: Path) -> None:
    (tmp_path / "messages").write_bytes("\ufeffham\tone\nham\t\ufefftwo\n".encode())
    assert read_messages(tmp_path / "messages", ["ham"])["text"].tolist() == ["one", "\ufefftwo"]
    assert read_messages(tmp_path / "messages", ["ham"], book_compatible=True)["label"].tolist() == ["ham", "ham"]


def test_an_empty_label_is_no_label(tmp_path: Path) -> None:
    (tmp_path / "messages").write_bytes(b"\ttext\n")
    with pytest.raises(ValueError, match=":1: no label"):
        read_messages(tmp_path / "messages", None)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 200).map(str)), min_size=60),
    st.booleans(),
    st.integers(0, 5),
)
def test_no_text_is_in_two_parts_and_every_part_has_its_share_of_each_class(
    rows: list[tuple[str, str]], balance: bool, seed: int
) -> None:
    rows += [(label, f"{label}{i}") for label in "abc" for i in range(10)]
    parts = split_messages(table(rows), **DEFAULT | {"balance": balance, "seed": seed})
    everything = pd.concat(parts.values())
    assert everything["text"].is_unique and set(everything.itertuples(index=False, name=None)) <= set(rows)
    distinct = table(rows).drop_duplicates("text")
    expected = counts(distinct)
    if balance:
        expected = dict.fromkeys(expected, min(expected.values()))
    assert counts(everything) == expected
    assert len(parts["train"]) == int(0.7 * len(everything) + 1e-9)
    for part, share in zip(PARTS, (0.7, 0.1, 0.2), strict=True):
        for label, n in expected.items():
            assert abs(counts(parts[part]).get(label, 0) - share * n) <= 2


def test_the_split_depends_on_seed_and_texts_not_on_their_order() -> None:
    frame = table([("ab"[i % 2], f"text {i}") for i in range(100)])
    parts = split_messages(frame, **DEFAULT)
    for part, rows in split_messages(frame.iloc[::-1], **DEFAULT).items():
        assert rows.equals(parts[part])
    assert not split_messages(frame, **DEFAULT | {"seed": 2})["train"].equals(parts["train"])
    assert len(set(parts["train"]["label"][:20])) == 2  # classes are mixed, not one after the other


def test_too_few_messages_are_refused() -> None:
    with pytest.raises(ValueError, match="the validation part of 4 messages is empty"):
        split_messages(table([("ab"[i % 2], str(i)) for i in range(4)]), **DEFAULT)
    with pytest.raises(ValueError, match="of 2 messages is empty; balance leaves 1 of each class, as many as b has"):
        split_messages(table([("a" if i else "b", str(i)) for i in range(20)]), **DEFAULT)
    with pytest.raises(ValueError, match="no messages to split"):
        split_messages(table([]), **DEFAULT)
    with pytest.raises(ValueError, match="labels ham and spam; found a, b"):
        split_messages(table([("a", "1"), ("b", "2")]), **DEFAULT | {"book_compatible": True})


def test_the_real_collection(mirror: Path) -> None:
    path = mirror / "SMSSpamCollection"
    frame = read_messages(path, ["ham", "spam"])
    assert counts(frame) == {"ham": 4827, "spam": 747}
    parts = split_messages(frame, **DEFAULT | {"seed": 123})
    assert [counts(part) for part in parts.values()] == [{"ham": n, "spam": n} for n in (457, 65, 131)]
    assert overlap(parts["train"]["text"], parts["test"]["text"]) == 0

    book = read_messages(path, ["ham", "spam"], book_compatible=True)
    assert counts(book) == {"ham": 4825, "spam": 747}
    parts = split_messages(book, **DEFAULT | {"book_compatible": True})
    assert [len(part) for part in parts.values()] == [1045, 149, 300]
    assert overlap(parts["train"]["text"], parts["test"]["text"]) == 37
    assert overlap(parts["train"]["text"], parts["validation"]["text"]) == 13
