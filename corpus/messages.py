"""Labelled messages (chapter 7.1): the SMS Spam Collection's format, and the one split that all stages share.

The book parses the file with pandas' default quoting, which merges three lines, and keeps duplicates, so that 37 test
messages are also training messages. `book_compatible` does just that, to reproduce the published sample; the default
removes duplicates first and publishes an honest number.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from corpus.parts import PARTS, Part, check_fractions, order_key, part_sizes
from corpus.utf8 import decoded_lines

BOOK_SEED = 123


def read_messages(path: Path, labels: Sequence[str] | None, *, book_compatible: bool = False) -> pd.DataFrame:
    """The rows `label<TAB>text` of a file as a table with the columns label and text; quotes are plain characters.

    `labels` are the allowed ones, None allows any. Blank lines are passed over.
    Raises ValueError with file and line: missing tab, no text, a label outside the set, not UTF-8; and for no rows.
    """
    rows: list[tuple[str, str]] = []
    for number, line in enumerate(decoded_lines(path), start=1):
        line = line.removesuffix("\n").removesuffix("\r")
        line = line.removeprefix("\ufeff") if number == 1 else line  # the byte order mark that some editors put first
        if not line.strip():
            continue
        label, tab, text = line.partition("\t")
        if not tab:
            raise ValueError(f"{path}:{number}: no tab; each line must be LABEL<TAB>TEXT")
        if labels is not None and label not in labels:
            raise ValueError(f"{path}:{number}: label {reprlib.repr(label)} is not one of {', '.join(labels)}")
        if not label.strip() or not text.strip():
            raise ValueError(f"{path}:{number}: no {'text' if label.strip() else 'label'}; each line must have both")
        rows.append((label, text))
    if not rows:
        raise ValueError(f"{path} holds no messages; each line must be LABEL<TAB>TEXT")
    if book_compatible:
        return _as_pandas_does(path, labels)
    return pd.DataFrame(rows, columns=["label", "text"])


def _as_pandas_does(path: Path, labels: Sequence[str] | None) -> pd.DataFrame:
    """The rows as the book reads them: a quote that opens a text goes on over the lines to the next one."""
    try:
        table = pd.read_csv(path, sep="\t", header=None, names=["label", "text"], keep_default_na=False, dtype=str)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path} can't be read the book's way: {error}; book_compatible: false takes it") from None
    blank = table["label"].str.strip().eq("") | table["text"].str.strip().eq("")
    strange = blank if labels is None else blank | ~table["label"].isin(labels)
    if table.empty or strange.any():
        what = f"row {int(strange.argmax()) + 1} has another label, or no text" if len(table) else "there are no rows"
        raise ValueError(
            f"{path}: read the book's way, where quotes join lines, {what}; book_compatible: false takes it"
        )
    return table


def split_messages(
    frame: pd.DataFrame,
    *,
    train_fraction: float,
    validation_fraction: float,
    seed: int,
    balance: bool,
    book_compatible: bool,
) -> dict[Part, pd.DataFrame]:
    """Train, validation and test tables (columns label, text) of `frame`.

    By default exact copies of a text go first (so no text is in two parts), then, with `balance`, each class keeps as
    many messages as the smallest has, then every part gets its share of each class. `book_compatible` reproduces the
    published sample instead: copies stay, and pandas draws with the book's own seed 123 whatever `seed` is.
    Raises ValueError where a part that should have messages gets none, or a class none to train on.
    """
    fractions = check_fractions(train_fraction, validation_fraction)
    if frame.empty:
        raise ValueError("there are no messages to split; at least 1 for each part is needed")
    rows = _book_order(frame, balance) if book_compatible else _stratified_order(frame, seed, balance)
    sizes = part_sizes(len(rows), fractions)
    parts: dict[Part, pd.DataFrame] = {}
    start = 0
    for part in PARTS:
        piece = rows.iloc[start : start + sizes[part]]
        start += sizes[part]
        if piece.empty and getattr(fractions, part) > 0:
            raise ValueError(f"the {part} part of {len(rows)} messages is empty; {_cure(frame, balance)}")
        parts[part] = (piece if book_compatible else _sorted(piece, seed, "message order")).reset_index(drop=True)
    if missing := sorted(set(rows["label"]) - set(parts["train"]["label"])):
        raise ValueError(f"no message labelled {', '.join(missing)} in the training part; give more of them")
    return parts


def overlap(train: Sequence[str], other: Sequence[str]) -> int:
    """How many of `other` are exact copies of something in `train`."""
    known = set(train)
    return sum(text in known for text in other)


def _stratified_order(frame: pd.DataFrame, seed: int, balance: bool) -> pd.DataFrame:
    """Distinct messages in an order of which every stretch holds the classes in their true shares.

    Each class is put in random order and spread evenly over [0, 1); merged by that place, any cut is stratified.
    """
    distinct = frame.drop_duplicates("text")
    classes = [_sorted(group, seed, "message sample") for _, group in distinct.groupby("label", sort=True)]
    smallest = min(map(len, classes))
    spread = []
    for rows in classes:
        rows = rows.head(smallest) if balance else rows
        spread.append(rows.assign(place=[(i + 0.5) / len(rows) for i in range(len(rows))]))
    return pd.concat(spread).sort_values("place", kind="stable")[["label", "text"]]


def _cure(frame: pd.DataFrame, balance: bool) -> str:
    """What helps against an empty part; a balanced sample is as small as its smallest class."""
    sizes = frame.drop_duplicates("text")["label"].value_counts()
    if balance and sizes.max() > sizes.min():
        return f"balance leaves {sizes.min()} of each class, as many as {sizes.idxmin()} has: give more of these"
    return "give more messages or a larger share"


def _sorted(rows: pd.DataFrame, seed: int, purpose: str) -> pd.DataFrame:
    keys = [order_key(text, seed, purpose) for text in rows["text"]]
    return rows.iloc[sorted(range(len(rows)), key=keys.__getitem__)]


def _book_order(frame: pd.DataFrame, balance: bool) -> pd.DataFrame:
    """Chapter 6 of the book: as many ham as spam, ham first, then everything shuffled, always with seed 123."""
    if set(frame["label"]) != {"ham", "spam"}:
        found = ", ".join(sorted(set(frame["label"])))
        raise ValueError(f"book_compatible is for the SMS Spam Collection with its labels ham and spam; found {found}")
    ham, spam = frame[frame["label"] == "ham"], frame[frame["label"] == "spam"]
    if balance:
        if len(ham) < len(spam):
            raise ValueError(f"book_compatible takes as many ham as spam; found {len(ham)} ham for {len(spam)} spam")
        ham = ham.sample(len(spam), random_state=BOOK_SEED)
    return pd.concat([ham, spam]).sample(frac=1, random_state=BOOK_SEED)
