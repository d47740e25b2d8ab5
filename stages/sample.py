"""Chapter 2: sliding windows over the tokens, and the one split of messages and of instructions that all stages share.

Windows are only their starting places: training reads them as views on the memory-mapped token file.

    python -m stages.sample
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from corpus.instructions import kind_of, leaks, read_instructions, split_instructions
from corpus.messages import overlap, read_messages, split_messages
from gpt.tokens import part_sources, parts_of
from gpt.windows import mixture_probabilities, source_windows
from pipeline.files import write_json
from pipeline.stage import Stage, run
from stages.lines import write_lines

TOKENS, RAW = Path("data/tokens"), Path("data/raw")


def sample_text(stage: Stage) -> dict[str, float]:
    """Window starts of every part, and how often an epoch visits each source."""
    params, context_length = stage.params.sample, stage.params.model.context_length
    folder = stage.out("data/samples/text")
    folder.mkdir()
    metrics = {}
    for part in parts_of(TOKENS):
        windows = source_windows(part_sources(TOKENS, part), context_length, params.stride)
        starts = np.concatenate([np.asarray(of_source, dtype=np.int64) for of_source in windows.values()])
        if not len(starts) and part != "test":
            raise ValueError(
                f"the {part} part is shorter than one window: model.context_length {context_length} needs "
                f"at least {context_length + 1} tokens in {TOKENS}/{part}.bin"
            )
        np.save(folder / f"{part}.npy", starts, allow_pickle=False)
        metrics[f"{part}_windows"] = len(starts)
        if part == "train":
            counts = {source: len(of_source) for source, of_source in windows.items()}
            mixture = mixture_probabilities(counts, params.mixture.weights, params.mixture.alpha)
            write_json(folder / "mixture.json", {"probabilities": mixture, "windows": counts})
    return metrics


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
    return {f"{part}_messages": len(rows) for part, rows in parts.items()} | {
        f"{part}_message_copies": overlap(list(parts["train"]["text"]), list(parts[part]["text"]))
        for part in ("validation", "test")
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
