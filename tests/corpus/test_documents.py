"""Documents: what is read, cleaned, dropped and split."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.documents import Document, clean, drop_duplicates, read_documents, split_by_character, split_by_document

FRACTIONS = (0.8, 0.1)
texts = st.text(st.characters(exclude_categories=["Cs"]))


def doc(text: str) -> Document:
    return Document("a.txt", "a.txt", text)


def test_files_are_read_in_sorted_order_with_their_bytes_untouched(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_bytes(b"two\r\nlines\r")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_bytes("é".encode())
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "x\\ny", "other": 1}\n\n{"text": "  "}\r\n{"text": "z"}')
    (tmp_path / ".hidden.bin").write_bytes(b"\xff")
    (tmp_path / "empty.txt").write_bytes(b" \n")
    assert list(read_documents(tmp_path, None)) == [
        Document("a.jsonl", "a.jsonl#1", "x\ny"),
        Document("a.jsonl", "a.jsonl#2", "z"),
        Document("b.txt", "b.txt", "two\r\nlines\r"),
        Document("sub/a.txt", "sub/a.txt", "é"),
    ]


def test_json_lines_may_know_their_surprisal(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "nats": 2}\n{"text": "y"}')
    assert [document.nats for document in read_documents(tmp_path, None)] == [2.0, None]


def test_json_lines_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('\ufeff{"text": "x"}\n'.encode())
    assert [document.text for document in read_documents(tmp_path, None)] == ["x"]


def test_separator_lines_stand_between_documents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"---\none\r\n---x\n---\r\n\n---\ntwo")
    found = list(read_documents(tmp_path, "---"))
    assert [(d.name, d.text) for d in found] == [("a.txt#1", "one\r\n---x\n"), ("a.txt#2", "two")]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.txt", b"ok\nabc\xff", r"a\.txt:2: byte 0xff at offset 6 is not UTF-8"),
        ("a.pdf", b"", r"a\.pdf is no corpus file: \.txt and \.jsonl"),
        ("a.jsonl", b'{"text": "x"}\n{', r"a\.jsonl:2: not JSON"),
        ("a.jsonl", b'["text"]', r'a\.jsonl:1: each line must be an object with a string "text"'),
        ("a.jsonl", b'{"text": 1}', "a string"),
        ("a.jsonl", b'{"text": "x", "nats": -1}', r'a\.jsonl:1: "nats" is -1; it must be a number from 0 on'),
        ("a.jsonl", b'{"text": "\\ud800"}', "surrogate"),
        ("a.jsonl", b"[" * 100_000, "not JSON"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    for separator in (None, "---"):
        with pytest.raises(ValueError, match=words):
            list(read_documents(tmp_path, separator))


def test_cleaning_does_what_its_settings_say() -> None:
    text = "\ufeffﬁe\u0301\r\na\rb\x00\t\x85"
    assert clean(text, normalization="none", newlines="keep", strip_control=False) == text
    assert clean(text, normalization="NFC", newlines="keep", strip_control=True) == "ﬁé\r\na\rb\t"
    assert clean(text, normalization="NFKC", newlines="lf", strip_control=True) == "fié\na\nb\t"
    with pytest.raises(ValueError, match="must be 'none', 'NFC' or 'NFKC'"):
        clean("a", normalization="NFD", newlines="keep", strip_control=False)
    with pytest.raises(ValueError, match="must be 'keep' or 'lf'"):
        clean("a", normalization="NFC", newlines="crlf", strip_control=False)


@given(texts)
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    for normalization in ("none", "NFC", "NFKC"):
        once = clean(text, normalization=normalization, newlines="lf", strip_control=True)
        assert clean(once, normalization=normalization, newlines="lf", strip_control=True) == once


@given(st.lists(texts))
def test_exact_copies_are_dropped_and_counted(many: list[str]) -> None:
    counts: Counter[str] = Counter()
    assert [d.text for d in drop_duplicates(map(doc, many), counts)] == list(dict.fromkeys(many))
    assert counts["duplicates"] == len(many) - len(set(many))


def test_a_documents_part_depends_on_its_text_and_the_seed_alone() -> None:
    many = [doc(f"text {i}") for i in range(4000)]
    parts = [split_by_document(d, FRACTIONS, seed=1) for d in many]
    assert [split_by_document(Document("b", "c", d.text), FRACTIONS, seed=1) for d in reversed(many)] == parts[::-1]
    assert parts != [split_by_document(d, FRACTIONS, seed=2) for d in many]
    shares = {part: n / len(many) for part, n in Counter(parts).items()}
    assert shares == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.02)


def test_without_a_rest_there_is_no_test_part() -> None:
    assert {split_by_document(doc(str(i)), (0.9, 0.1), seed=1) for i in range(2000)} == {"train", "validation"}
    assert {split_by_document(doc(str(i)), (1.0, 0.0), seed=1) for i in range(2000)} == {"train"}


@given(texts)
def test_the_character_split_loses_nothing(text: str) -> None:
    for fractions, names in (
        ((0.7, 0.1), ["train", "validation", "test"]),
        ((0.9, 0.1), ["train", "validation"]),
        ((0.5, 0.0), ["train", "test"]),
        ((1.0, 0.0), ["train"]),
    ):
        parts = split_by_character(text, fractions)
        assert "".join(parts.values()) == text and list(parts) == names
        assert len(parts["train"]) == int(fractions[0] * len(text) + 1e-9)


@pytest.mark.parametrize("fractions", [(0.0, 0.5), (0.9, 0.2), (-0.1, 0.1), (0.5, -0.1), (float("nan"), 0.1)])
def test_impossible_fractions_are_refused(fractions: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="train_fraction"):
        split_by_character("text", fractions)


def test_the_verdict_is_cut_where_the_book_cuts_it(mirror: Path) -> None:
    parts = split_by_character((mirror / "the-verdict.txt").read_bytes().decode(), (0.9, 0.1))
    assert {part: len(text) for part, text in parts.items()} == {"train": 18_431, "validation": 2_048}
