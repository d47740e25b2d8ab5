"""The items that several results answered, paired by what was asked, and the verdicts that follow from them.

Messages and instructions are the same only where text and expected answer agree; the split may have changed between two
runs, so that a line's number means nothing. Documents have no text here: they are the same where the token files are.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tasks import noise
from tasks.noise import Difference
from tasks.results import Result

DECIDES = "validation"  # the part to choose on; the others are reported
PARTS = ("validation", "test", "combinations", "train")
MEASURES = {"classify": "accuracy", "instruct": "exact match", "language": "nats per token"}
LOSSES = "reports/evaluate/losses.csv"
STORED = (
    ("classify", "messages", {"classify", "lora"}),
    ("instruct", "instructions", {"instruct"}),
    ("language", "losses by document", {"pretrain"}),
)  # task, what is stored of it, the stages whose models it is about
PREDICTIONS = "reports/evaluate/predictions.jsonl"
TOKENS = "data/tokens"
NAMED = {"lora": "lora", "classify": "pretrained"}  # the model that a run of these stages is about

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Item:
    """One question and what came of it. `score`: 1 right, 0 wrong; of a document its loss in nats, `weight` tokens."""

    asked: str
    expected: str
    answer: str
    score: float
    weight: float = 1.0


Sheet = dict[Key, Item]  # in the order of the file
Sheets = dict[tuple[str, str, str], Sheet]  # (task, variant, part)


@dataclass(frozen=True)
class Verdict:
    """One model of the `other` result beside the same of the first, on one part.

    `difference` is None where nothing can be said, which `why` explains. `counts`: items of the first and the other.
    """

    other: int
    task: str
    variant: str
    part: str
    counts: tuple[int, int]
    difference: Difference | None = None
    why: str = ""

    @property
    def decides(self) -> bool:
        return self.part == DECIDES

    @property
    def measure(self) -> str:
        return MEASURES[self.task]

    @property
    def all_paired(self) -> bool:
        return self.difference is not None and self.counts == (self.difference.items,) * 2


@dataclass(frozen=True)
class Asked:
    """The same question to all results: `answers` and `right` in their order."""

    asked: str
    expected: str
    answers: tuple[str, ...]
    right: tuple[bool, ...]

    @property
    def differ(self) -> bool:
        return len(set(self.answers)) > 1


def sheets_of(result: Result, one_name: bool = False) -> Sheets:
    """What a result stored, item by item. `one_name`: LoRA and a plain classifier get one name, to be compared."""
    found: Sheets = {}
    evaluated = result.rows(PREDICTIONS) or []
    texts: dict[tuple[str, int], str] = {}
    for stage in ("classify", "lora"):
        for row in result.rows(f"reports/{stage}/predictions.jsonl") or []:
            texts[row["part"], row["index"]] = row["text"]
            if not one_name or (stage == result.stage and row["variant"] == NAMED[stage]):
                _add(found, "classify", "the model named" if one_name else row["variant"], row["part"], _message(row))
    for row in evaluated:
        place = row["part"], row.get("index")
        if row["task"] == "classify" and row["variant"] == "bag_of_words" and place in texts and not one_name:
            _add(found, "classify", "bag_of_words", row["part"], _message(row | {"text": texts[place]}))
        elif row["task"] == "instruct" and "instruct" in result.stages:
            asked = "\n".join(filter(None, (row["instruction"], row["input"])))
            item = Item(asked, row["reference"], row["answer"], float(row["exact_match"]))
            _add(found, "instruct", row["variant"], row["part"], item)
    for (variant, part), sheet in _documents(result).items():
        found["language", variant, part] = sheet
    return found


def verdicts(results: Sequence[Result], sheets: Sequence[Sheets]) -> list[Verdict]:
    """Every model and part that the first result and another have in common; what decides comes first."""
    found = []
    for other in range(1, len(results)):
        same_documents = _same_documents(results[0], results[other])
        for place in sorted({*sheets[0]} & {*sheets[other]}, key=_order):
            first, second = sheets[0][place], sheets[other][place]
            counts = len(first), len(second)
            keys = [key for key in first if key in second]
            same = same_documents and all(first[key].weight == second[key].weight for key in keys)
            if place[0] == "language" and not same:
                why = "other token files or windows: their documents cannot be paired"
                found.append(Verdict(other, *place, counts, why=why))
            elif not keys:
                found.append(Verdict(other, *place, counts, why="not one item in common"))
            else:
                pairs = [(first[key], second[key]) for key in keys]
                found.append(Verdict(other, *place, counts, _difference(place[0], pairs)))
    return sorted(found, key=lambda verdict: not verdict.decides)


def missing(results: Sequence[Result], sheets: Sequence[Sheets]) -> list[str]:
    """What could not be judged for want of stored items, a sentence each."""
    said = []
    for task, things, makers in STORED:
        if not all(makers & {*result.stages} for result in results):  # a run of LoRA has no instructions
            continue
        without = [
            result.name
            for result, own in zip(results, sheets, strict=True)
            if not any(place[0] == task for place in own)
        ]
        if without:
            said.append(f"{things}: not recorded by {', '.join(without)}")
    return said


def asked_of_all(sheets: Sequence[Sheets], task: str, variant: str, part: str = DECIDES) -> list[Asked]:
    """The questions that every result answered, those with different answers first."""
    own = [sheet.get((task, variant, part), {}) for sheet in sheets]
    found = []
    for key, item in own[0].items():
        if all(key in sheet for sheet in own):
            items = [sheet[key] for sheet in own]
            answers, right = tuple(i.answer for i in items), tuple(bool(i.score) for i in items)
            found.append(Asked(item.asked, item.expected, answers, right))
    return sorted(found, key=lambda asked: not asked.differ)


def confusion(sheet: Sheet) -> tuple[list[str], list[list[int]]]:
    """Labels, and how often an expected one (row) was answered so (column)."""
    labels = sorted({item.expected for item in sheet.values()} | {item.answer for item in sheet.values()})
    counts = Counter((item.expected, item.answer) for item in sheet.values())
    return labels, [[counts[expected, answer] for answer in labels] for expected in labels]


def _message(row: Mapping[str, Any]) -> Item:
    return Item(row["text"], row["expected"], row["predicted"], float(row["expected"] == row["predicted"]))


def _add(sheets: Sheets, task: str, variant: str, part: str, item: Item) -> None:
    """Items that are asked twice are told apart by which time it is."""
    sheet = sheets.setdefault((task, variant, part), {})
    times = 0
    while (key := (item.asked, item.expected, times)) in sheet:
        times += 1
    sheet[key] = item


def _documents(result: Result) -> dict[tuple[str, str], Sheet]:
    data = result.read(LOSSES)
    found: dict[tuple[str, str], Sheet] = {}
    if data is not None:
        table = pd.read_csv(io.BytesIO(data), dtype={"variant": str, "part": str, "document": str})
        whole = table.groupby(["variant", "part", "document"], as_index=False, sort=False)[["tokens", "nats"]].sum()
        for row in whole.itertuples(index=False):  # a long document is stored in pieces
            sheet = found.setdefault((row.variant, row.part), {})
            sheet[(row.document,)] = Item(row.document, "", "", float(row.nats), float(row.tokens))
    return found


def _same_documents(first: Result, second: Result) -> bool:
    """Whether the numbers of documents mean the same: the same token files, and windows, where those are scored."""

    def read(result: Result) -> list[Any]:
        tokens, rows = result.inputs.get("evaluate", {}).get(TOKENS), result.params.get("sample.rows")
        cut = () if rows == "documents" else ("sample.stride", "model.context_length")
        return [tokens, rows, *(result.params.get(leaf) for leaf in cut)]

    return read(first)[0] is not None and read(first) == read(second)


def _difference(task: str, pairs: Sequence[tuple[Item, Item]]) -> Difference:
    one, two = [first.score for first, _ in pairs], [second.score for _, second in pairs]
    if task == "language":
        return noise.loss(one, two, [first.weight for first, _ in pairs])
    return noise.binary(one, two)


def _order(place: tuple[str, str, str]) -> tuple[int, int, str]:
    task, variant, part = place
    rank = ("pretrained", "full", "lora", "random", "bag_of_words")
    position = rank.index(variant) if variant in rank else 0
    return list(MEASURES).index(task) * 10 + position, PARTS.index(part) if part in PARTS else len(PARTS), part
