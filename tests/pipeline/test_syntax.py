"""Two versions of a file are the same program, or they are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import ledger, syntax
from pipeline.files import md5_bytes
from pipeline.syntax import known_versions, remember, syntax_digest

CODE = '''"""What it is."""
from dataclasses import dataclass

@dataclass
class Pair:
    """Two."""
    left: int = 1
    """The first."""

def total(pair: Pair, more: str = "x") -> int:
    """Adds up."""
    # slowly
    return pair.left + len(more)
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""What it is."""\n', ""),
        ("    # slowly\n", "\n\n"),
        ('    """The first."""\n', '    """The first of both."""  # of two\n'),
        ('(pair: Pair, more: str = "x")', "(\n    pair: Pair,\n    more: str = 'x',\n)"),
        ("\n", "\r\n"),
    ],
)
def test_comments_docstrings_and_formatting_are_no_program(old, new):
    assert old in CODE
    assert syntax_digest(CODE.replace(old, new).encode()) == syntax_digest(CODE.encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [('"x"', '"y"'), ("left: int = 1", "left: int = 1.0"), ("total", "sums"), ("-> int", "-> float"), ("+", "-")],
)
def test_anything_else_is_another_program(old, new):
    assert syntax_digest(CODE.replace(old, new).encode()) != syntax_digest(CODE.encode())


@pytest.mark.parametrize(
    "source", [b"def f(:", b"x = 1\0", b"\xff", b'"""Help."""\nprint(__doc__)\n', b"import inspect"]
)
def test_what_cannot_be_parsed_or_reads_itself_is_its_bytes(source):
    assert syntax_digest(source) == syntax_digest(source) != syntax_digest(source + b"# more\n")


@given(st.integers(0, len(CODE.splitlines())), st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20))
def test_a_comment_line_changes_nothing_wherever_it_stands(place, text):
    lines = CODE.splitlines()
    edited = "\n".join([*lines[:place], f"# {text}", *lines[place:]])
    assert syntax_digest(edited.encode()) == syntax_digest(CODE.encode())


def test_each_version_is_remembered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path / "home"))
    files = [tmp_path / "a.py", tmp_path / "b.py", tmp_path / "data.txt"]
    for file in files:
        file.write_text("x = 1\n")
    remember(files)
    remember(files)
    files[1].write_text("x = 1  # one\n")
    ledger.append({"stage": "toy", "inputs": "i", "outputs": "o", "key": "k", "run_id": None})
    remember(files)
    first, second = (md5_bytes(text) for text in (b"x = 1\n", b"x = 1  # one\n"))
    assert list(known_versions()) == [first, second] and known_versions()[first] == known_versions()[second]
    assert len(ledger.entries()) == 3
    assert syntax.known_versions()[first] == syntax_digest(b"x=1")
