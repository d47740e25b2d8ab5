"""The benchmarks by name: each is the module `benchmarks/NAME.py`, whose `rows(options)` yields the table's lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.hardware import Hardware

THREADS = 2  # as params.yaml has it


@dataclass(frozen=True)
class Topic:
    title: str
    cuda: bool = False
    """Whether it measures a CUDA device: without one it is left out of a run of all."""


@dataclass
class Options:
    """What a topic is given."""

    folder: Path
    """For files that a benchmark makes: on the workspace's disk, kept from run to run."""
    size: float | None = None
    """Of what grows, where the caller wants another than the topic's own."""
    text: Path | None = None
    """A text file to learn from, for the topic that does."""
    threads: int = THREADS
    picture: Path | None = None
    """Where a topic that draws one puts it."""
    hardware: Hardware | None = None


TOPICS = {
    "training": Topic("A training step"),
    "together": Topic("Two trainings at once"),
    "lora": Topic("A LoRA training step"),
    "classifying": Topic("Training a classifier's last block"),
    "instructing": Topic("Instruction tuning"),
    "generation": Topic("Generation, one text at a time"),
    "answering": Topic("Answering the instruction test set"),
    "downloading": Topic("Downloading and hashing"),
    "tokenizing": Topic("Tokenizing"),
    "sampling": Topic("Sampling from a large corpus"),
    "processes": Topic("Starting, and finding nothing to do"),
    "whole": Topic("A full run"),
    "losses": Topic("Time to a loss"),
    "growing": Topic("How cost grows"),
    "gpu": Topic("A training step on a GPU", cuda=True),
}
