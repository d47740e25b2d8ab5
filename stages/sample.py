"""Chapter 2: sliding windows over the tokens, and the one split of messages and of instructions that all stages share.

Windows are only their starting places: training reads them as views on the memory-mapped token file.

    python -m stages.sample
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from corpus.instructions import kind_of, leaks, read_instructions, split_instructions
from corpus.messages import overlap, read_messages, split_messages
from gpt.order import MixedOrder
from gpt.tokens import read_about, source_ranges
from gpt.windows import starts_within
from pipeline.files import write_json
from pipeline.schema import Mixture
from pipeline.stage import Stage, run
from stages.lines import write_lines
from stages.windows import MIXTURE, TOKENS

RAW = Path("data/raw")


def sample_text(stage: Stage) -> dict[str, float]:
    """Window starts of every part, and how the training windows of several sources are mixed."""
    params, context_length = stage.params.sample, stage.params.model.context_length
    folder = stage.out("data/samples/text")
    folder.mkdir()
    metrics: dict[str, float] = {}
    for part in read_about(TOKENS)["parts"]:
        ranges = source_ranges(TOKENS, part)
        starts, sizes = starts_within(ranges.values(), context_length, params.stride)
        if len(starts):
            np.save(folder / f"{part}.npy", starts, allow_pickle=False)
        elif part != "test":
            raise ValueError(
                f"the {part} part of the text is shorter than one window: model.context_length {context_length} "
                f"needs at least {context_length + 1} tokens of one source"
            )
        metrics[f"{part}_windows"] = len(starts)
        if part == "train":
            sources = [
                Source(name, last - first, size)
                for (name, (first, last)), size in zip(ranges.items(), sizes, strict=True)
                if size
            ]
            write_mixture(folder / MIXTURE, sources, params.mixture)
            metrics["sources"] = len(sources)
    return metrics


class Source(NamedTuple):
    """A text file's share of the training part."""

    name: str
    tokens: int
    windows: int


def write_mixture(path: Path, sources: list[Source], mixture: Mixture) -> None:
    """What each source weighs, and so its share of an epoch."""
    weights = [mixture.weights.get(source.name, float(source.tokens)) for source in sources]
    order = MixedOrder(0, tuple(source.windows for source in sources), tuple(weights), mixture.alpha)
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
        "order": params.order,
        "seed": stage.params.seed,
    }
    whole = split_instructions(entries, drop_leaks=False, **options)
    parts = split_instructions(entries, drop_leaks=params.drop_leaks, **options)
    for part, rows in parts.items():
        write_lines(folder / f"{part}.jsonl", [{**row, "kind": kind_of(row)} for row in rows])
    metrics: dict[str, float] = {f"{part}_instructions": len(rows) for part, rows in parts.items()}
    for part in ("validation", "test"):
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
