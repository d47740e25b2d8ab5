"""Instructions (chapter 7.2): reading, splitting without leaks, and what kind of task each one is."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from corpus.parts import PARTS, check_fractions, order_key, part_sizes
from corpus.utf8 import decoded, is_encodable

Entry = dict[str, Any]
Split = Literal["file", "shuffled", "given"]

FIELDS = ("instruction", "input", "output", "kind")
COMBINATIONS = "combinations"  # the part of a given split whose entries combine words and kinds as training never does


def read_instructions(path: Path) -> list[Entry]:
    """The entries of a JSON list (`.jsonl`: an object a line), each with instruction, input ("" where there is none),
    output, and where it has them kind, split (train, validation or test) and combination (true or false: whether it
    combines what training never does); other keys are left out.

    Raises ValueError with file and entry number (from 1) for what is malformed, and for a file without entries.
    """
    text = decoded(path).removeprefix("\ufeff")  # some editors put a byte order mark first
    entries = _lines(path, text) if path.suffix == ".jsonl" else _list(path, text)
    if not entries:
        raise ValueError(f"{path} holds no entries; each must have an instruction and an output")
    return [_checked(where, entry) for where, entry in entries]


def split_instructions(
    entries: Sequence[Entry],
    *,
    train_fraction: float,
    validation_fraction: float,
    split: Split,
    seed: int,
    drop_leaks: bool,
) -> dict[str, list[Entry]]:
    """Train, validation and test entries, in this order.

    "file" cuts the list as it stands the way the book does: train, then test, then validation. "shuffled" first puts it
    in an order decided by seed and content. "given" goes by each entry's own split, not by the fractions; test entries
    that are combinations become a fourth part, if there are any. `drop_leaks` then removes every (instruction, input)
    pair that stands in an earlier part. Raises ValueError for a part left empty, and under "given" for an entry that
    has no split.
    """
    if split not in get_args(Split):
        raise ValueError(f"split is {split!r}; it must be 'file', 'shuffled' or 'given'")
    fractions = check_fractions(train_fraction, validation_fraction)
    rows = list(entries)
    if split == "shuffled":
        rows.sort(key=lambda entry: order_key("\0".join(_pair(entry)), seed, "instructions"))
    if split == "given":
        parts, wanted = _given(rows), PARTS
    else:
        sizes = part_sizes(len(rows), fractions, rest="validation" if validation_fraction else "test")
        first, second = sizes["train"], sizes["train"] + sizes["test"]
        parts = {"train": rows[:first], "validation": rows[second:], "test": rows[first:second]}
        wanted = tuple(part for part in PARTS if getattr(fractions, part) > 0)
    if drop_leaks:
        parts = _without_leaks(parts)
    for part in wanted:
        if not parts[part]:
            cure = f'mark some with "split": "{part}"' if split == "given" else "give more or another share"
            raise ValueError(f"the {part} part of {len(rows)} instructions is empty; {cure}")
    return {part: rows for part, rows in parts.items() if rows or part != COMBINATIONS}


def _given(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Each entry where it says that it belongs."""
    parts: dict[str, list[Entry]] = {part: [] for part in (*PARTS, COMBINATIONS)}
    for number, entry in enumerate(entries, start=1):
        if "split" not in entry:
            raise ValueError(
                f'instruction {number}, {reprlib.repr(entry["instruction"])}, has no "split"; with split: given every '
                f"entry must say {', '.join(PARTS[:-1])} or {PARTS[-1]}"
            )
        combines = entry["split"] == "test" and entry.get("combination", False)
        parts[COMBINATIONS if combines else entry["split"]].append(entry)
    return parts


def _without_leaks(parts: dict[str, list[Entry]]) -> dict[str, list[Entry]]:
    """The parts without what an earlier one asks; training stays as it is."""
    known: set[tuple[str, str]] = set()
    clean = {}
    for part, entries in parts.items():
        clean[part] = [entry for entry in entries if part == "train" or _pair(entry) not in known]
        known |= {_pair(entry) for entry in clean[part]}
    return clean


def leaks(train: Iterable[Entry], other: Iterable[Entry]) -> int:
    """How many of `other` ask what something in `train` asks: the same (instruction, input) pair."""
    known = {_pair(entry) for entry in train}
    return sum(_pair(entry) in known for entry in other)


# What to call a task, by the words of its instruction; the first rule that matches decides, so the order matters: what
# names its task outright stands above what only mentions a word of it ("rewrite … using a synonym" is a rewriting).
KINDS: tuple[tuple[str, str], ...] = (
    ("sentiment", r"sentiment|\[positive, negative"),
    ("translation", r"^translate\b"),
    ("spelling", r"\bspell|capitali[sz]e"),
    ("classification", r"^(classify|categori[sz]e|label|determine whether)\b|^identify the (type|tense|point of view)"),
    ("voice", r"\b(active|passive) (voice|sentence|form)\b|\bto passive\b"),
    (
        "figure of speech",
        r"^(re-?w|create|make|give|provide an example|identify|what type|name).*"
        r"\b(simile|metaphor|idiom|hyperbole|personification|alliteration|onomatopoeia|clichés?"
        r"|figurative|literary|palindrome)\b",
    ),
    (
        "word form",
        r"\b(plural|past participle|comparative|superlative|gerund|infinitive|contraction|abbreviation"
        r"|compound word|past tense (of|form)|past-tense verb|turn it into a verb)\b",
    ),
    ("tense", r"\btense\b|\bpast continuous|\b(past|present|future) perfect"),
    ("synonym", r"^(?!re-?w).*\b(synonyms?|alternate word|simpler word|mean the same)\b"),
    ("antonym", r"\b(antonyms?|opposite)\b"),
    ("rhyme", r"\brhym"),
    (
        "correction",
        r"\b(correct(?! (verb|word|order))|gramma(r|tical(ly)?)|mistakes?|misuse|punctuation (at|in)|fix)\b"
        r"|^edit\b|redundan",
    ),
    (
        "sentence type",
        r"^(?!name\b).*\b(question|interrogative|imperative|declarative|command|exclamation"
        r"|negative statement|(in)?direct speech)\b",
    ),
    ("unit conversion", r"^convert (\d|the (mass|angle|temperature|time))"),
    ("number system", r"^convert the (following )?number"),
    ("sorting", r"^(sort|arrange|rearrange|put|reverse|scramble)\b"),
    (
        "parts of speech",
        r"^(identify|pick|select)\b.*\b(verb|noun|adjective|adverb|pronoun|preposition|interjection"
        r"|predicate|subject)\b",
    ),
    ("completion", r"^(fill|insert|add|suggest a continuation)\b|complete the sentence|missing word"),
    (
        "rewriting",
        r"^(re-?w|change|convert|transform|combine|split|cut|make|alter|simplify the (sentence|text)|shorten"
        r"|paraphrase)|\bcombining\b",
    ),
    ("writing", r"^(generate|create|construct|write|compose)\b|^describe the color|^(provide|give) an example"),
    (
        "arithmetic",
        r"^(calculate|solve|compute|simplify|determine the (area|gravitational|mass|product|sum))\b"
        r"|\b(square|cube|root|sum|derivative|integral|prime|multiples?|hypotenuse|odd numbers|fibonacci)\b"
        r"|sequence|\bcount\b",
    ),
    ("formula", r"\b(formula|symbol)\b"),
    (
        "measurement",
        r"\b(boiling|melting|freezing|atomic (number|mass)|ph (level|value)|ph of|speed of"
        r"|body temperature|temperature of)\b",
    ),
    ("definition", r"^(define|explain the term|explain what (an?|gdp)|what does .* mean)\b|hypernym"),
    ("explanation", r"^(explain|describe|summari[sz]e|how|why)\b|\b(function|purpose) of\b"),
    ("listing", r"^(list|name (the )?(three|two|four|five|\d+)|given a list)\b"),
    ("factual question", r"^(what|who|when|where|which|name|identify|look up|find|state|determine)\b"),
)
_COMPILED = [(kind, re.compile(pattern, re.IGNORECASE | re.DOTALL)) for kind, pattern in KINDS]


def kind_of(entry: Entry) -> str:
    """The entry's own "kind", else the first of `KINDS` that its instruction fits, else "other"."""
    if entry.get("kind"):
        return str(entry["kind"])
    return next((kind for kind, pattern in _COMPILED if pattern.search(entry["instruction"].strip())), "other")


def _pair(entry: Entry) -> tuple[str, str]:
    return entry["instruction"], entry.get("input", "")


def _list(path: Path, text: str) -> list[tuple[str, object]]:
    """(place, entry) of a JSON list."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(raw, list):
        raise ValueError(f"{path} holds {_kind(raw)}; it must be a list of entries")
    return [(f"{path}, entry {number}", entry) for number, entry in enumerate(raw, start=1)]


def _lines(path: Path, text: str) -> list[tuple[str, object]]:
    """(place, entry) of JSON lines; blank lines don't count."""
    entries = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                entries.append((f"{path}:{number}", json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}:{number}: not JSON ({error})") from None
    return entries


def _kind(value: object) -> str:
    """What JSON calls a value."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _checked(where: str, entry: object) -> Entry:
    """One entry with its known fields; ValueError that names its place."""
    if not isinstance(entry, dict):
        raise ValueError(f"{where} is {_kind(entry)}; it must be an object with an instruction and an output")
    for field in FIELDS:
        value = entry.get(field, None if field in ("instruction", "output") else "")
        if not isinstance(value, str):
            state = "missing" if field not in entry else _kind(value)
            raise ValueError(f'{where}: "{field}" is {state}; it must be a string')
        if not value.strip() and field in ("instruction", "output"):
            raise ValueError(f'{where}: "{field}" is empty; it must have text')
        if not is_encodable(value):
            raise ValueError(f'{where}: "{field}" has half of a surrogate pair (\\ud800 … \\udfff), no character')
    kept = {field: entry.get(field, "") for field in FIELDS}
    if not kept["kind"]:
        del kept["kind"]
    return kept | _marks(where, entry)


def _marks(where: str, entry: Entry) -> Entry:
    """What an entry says of its own part; ValueError where that is no part."""
    kept: Entry = {field: entry[field] for field in ("split", "combination") if field in entry}
    if kept.get("split", "train") not in PARTS:
        raise ValueError(
            f'{where}: "split" is {reprlib.repr(kept["split"])}; it must be {", ".join(PARTS[:-1])} or {PARTS[-1]}'
        )
    if not isinstance(kept.get("combination", False), bool):
        raise ValueError(f'{where}: "combination" is {reprlib.repr(kept["combination"])}; it must be true or false')
    return kept
