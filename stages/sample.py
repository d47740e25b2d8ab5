"""Chapter 2: rows of tokens to learn from, and the one split of messages and of instructions that all stages share.

A row is a window that slides over the text, or whole documents packed together. Rows are only places: training reads
them from the memory-mapped token file.

    python -m stages.sample
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from corpus.instructions import FIELDS, kind_of, leaks, read_instructions, split_instructions
from corpus.messages import overlap, read_messages, split_messages
from gpt.order import MixedOrder
from gpt.packing import pack, pieces_of
from gpt.tokens import read_about, read_index, source_ranges
from gpt.windows import starts_within
from pipeline.files import write_json
from pipeline.schema import Mixture
from pipeline.stage import Stage, run
from stages.lines import write_lines
from stages.windows import MIXTURE, TOKENS

RAW = Path("data/raw")


def sample_text(stage: Stage) -> dict[str, float]:
    """The rows of every part, and how the training rows of several sources are mixed."""
    params, context_length = stage.params.sample, stage.params.model.context_length
    folder = stage.out("data/samples/text")
    folder.mkdir()
    metrics: dict[str, float] = {}
    for part in read_about(TOKENS)["parts"]:
        whole = params.rows == "documents"
        rows = packed(part, context_length) if whole else sliding(part, context_length, params.stride)
        if rows.places.size:
            np.save(folder / f"{part}.npy", rows.places, allow_pickle=False)
        elif part != "test":
            raise ValueError(
                f"the {part} part of the text is shorter than one window: model.context_length {context_length} "
                f"needs at least {context_length + 1} tokens of one source"
            )
        metrics |= {f"{part}_rows": sum(rows.sizes)} | {f"{part}_{name}": value for name, value in rows.facts.items()}
        if part == "train":
            ranges = source_ranges(TOKENS, part)
            sources = [
                Source(name, last - first, size)
                for (name, (first, last)), size in zip(ranges.items(), rows.sizes, strict=True)
                if size
            ]
            write_mixture(folder / MIXTURE, sources, params.mixture)
            metrics["sources"] = len(sources)
    return metrics


class Rows(NamedTuple):
    """A part's rows as they are stored, how many each source has, and what is worth knowing."""

    places: np.ndarray
    sizes: tuple[int, ...]
    facts: dict[str, float]


def sliding(part: str, context_length: int, stride: int) -> Rows:
    """Windows: where each starts."""
    return Rows(*starts_within(source_ranges(TOKENS, part).values(), context_length, stride), {})


def packed(part: str, context_length: int) -> Rows:
    """Whole documents: row, first target and length of each; a row holds documents of one source."""
    index, sources = read_index(TOKENS, part), read_about(TOKENS)["parts"][part]["sources"]
    places, sizes = [np.empty((0, 3), np.int64)], list[int]()
    for first, last in sorted(source["documents"] for source in sources.values()):
        pieces = pieces_of(index[first:last], context_length)
        rows = pack(pieces[:, 1].tolist(), context_length)
        order = [piece for row in rows for piece in row]
        numbers = np.repeat(np.arange(len(rows)) + sum(sizes), [len(row) for row in rows])
        places.append(np.column_stack([numbers, pieces[order]]))
        sizes.append(len(rows))
    all_places = np.concatenate(places)
    facts = {
        "documents_cut": int((index[:, 1] >= context_length).sum()),
        "fill": float(all_places[:, 2].sum() / max(1, sum(sizes) * context_length)),
    }
    return Rows(all_places, tuple(sizes), facts)


class Source(NamedTuple):
    """A text file's share of the training part."""

    name: str
    tokens: int
    rows: int


def write_mixture(path: Path, sources: list[Source], mixture: Mixture) -> None:
    """What each source weighs, and so its share of an epoch."""
    weights = [mixture.weights.get(source.name, float(source.tokens)) for source in sources]
    order = MixedOrder(0, tuple(source.rows for source in sources), tuple(weights), mixture.alpha)
    write_json(
        path,
        {
            "alpha": mixture.alpha,
            "shares": list(order.shares),
            "sizes": list(order.sizes),
            "sources": [source.name for source in sources],
            "weights": weights,
        },
    )


def sample_messages(stage: Stage) -> dict[str, float]:
    params = stage.params.sample.messages
    folder = stage.out("data/samples/messages")
    folder.mkdir()
    files = sorted((RAW / "messages").iterdir())
    table = pd.concat(
        [read_messages(file, params.labels, book_compatible=params.book_compatible) for file in files],
        ignore_index=True,
    )
    parts = split_messages(
        table,
        train_fraction=params.train_fraction,
        validation_fraction=params.validation_fraction,
        seed=stage.params.seed,
        balance=params.balance,
        book_compatible=params.book_compatible,
    )
    for part, rows in parts.items():
        write_lines(folder / f"{part}.jsonl", rows[["label", "text"]].to_dict("records"))
    write_json(folder / "labels.json", params.labels)
    metrics: dict[str, float] = {f"{part}_messages": len(rows) for part, rows in parts.items()}
    training = list(parts["train"]["text"])
    return metrics | {
        "validation_message_copies": overlap(training, list(parts["validation"]["text"])),
        "test_message_copies": overlap(training, list(parts["test"]["text"])),
    }


def sample_instructions(stage: Stage) -> dict[str, float]:
    params = stage.params.sample.instructions
    folder = stage.out("data/samples/instructions")
    folder.mkdir()
    entries = [entry for file in sorted((RAW / "instructions").iterdir()) for entry in read_instructions(file)]
    options: dict[str, Any] = {
        "train_fraction": params.train_fraction,
        "validation_fraction": params.validation_fraction,
        "split": params.split,
        "seed": stage.params.seed,
    }
    whole = split_instructions(entries, drop_leaks=False, **options)
    parts = split_instructions(entries, drop_leaks=params.drop_leaks, **options)
    for part, rows in parts.items():
        # Not what an entry says of its part: the file it stands in is the part.
        known = [{field: row.get(field) for field in FIELDS} for row in rows]
        write_lines(folder / f"{part}.jsonl", [row | {"kind": kind_of(row)} for row in known])
    metrics: dict[str, float] = {f"{part}_instructions": len(rows) for part, rows in parts.items()}
    for part in [part for part in parts if part != "train"]:
        metrics[f"{part}_instruction_leaks_found"] = leaks(whole["train"], whole[part])
        metrics[f"{part}_instruction_copies"] = leaks(parts["train"], parts[part])
    return metrics


def main(stage: Stage) -> None:
    metrics = sample_text(stage) | sample_messages(stage) | sample_instructions(stage)
    for kind in ("text", "messages", "instructions"):
        stage.log_dataset(f"samples/{kind}", stage.out(f"data/samples/{kind}"), "sample")
    stage.write_metrics(metrics)


if __name__ == "__main__":
    sys.exit(run("sample", main))
