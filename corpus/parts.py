"""Train, validation and test: how many go where, and an order that depends on nothing but the seed and the text.

Nothing here draws random numbers. An item's place comes from a keyed digest of the item itself, so it is the same on
every machine and under every library version, and doesn't depend on what stands beside it.
"""

from __future__ import annotations

import hashlib
from math import floor
from typing import Literal, NamedTuple

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")

_ROUNDING = 1e-9  # 0.29 · 100 is 28.999999999999996; an error of the float, not of the person who wrote 0.29


class Fractions(NamedTuple):
    """Shares of the whole for training and validation; the test part gets what they leave."""

    train: float
    validation: float

    @property
    def test(self) -> float:
        """The share that is left; exactly 0 where the two add up to 1."""
        left = 1.0 - self.train - self.validation
        return left if left > _ROUNDING else 0.0


def check_fractions(train: float, validation: float) -> Fractions:
    """The two shares as Fractions; ValueError unless 0 < train, 0 <= validation and their sum <= 1."""
    if not (0 < train <= 1 and 0 <= validation < 1 and train + validation <= 1 + _ROUNDING):
        raise ValueError(
            f"train_fraction {train} and validation_fraction {validation} don't fit: "
            "0 < train_fraction, 0 <= validation_fraction, and together at most 1"
        )
    return Fractions(train, validation)


def part_sizes(n: int, fractions: Fractions, rest: Part = "test") -> dict[Part, int]:
    """How many of `n` items each part gets: whole numbers rounded down, and `rest` what remains."""
    sizes = {part: floor(n * getattr(fractions, part) + _ROUNDING) for part in PARTS}
    if fractions.test == 0 and rest == "test":
        rest = "validation" if fractions.validation else "train"
    sizes[rest] = n - sum(size for part, size in sizes.items() if part != rest)
    return sizes


def order_key(text: str, seed: int, purpose: str) -> bytes:
    """16 bytes that sort `text` into a random-looking place; another `purpose` or seed gives another order."""
    key = hashlib.blake2b(f"{purpose}\0{seed}".encode(), digest_size=32).digest()
    return hashlib.blake2b(text.encode(), key=key, digest_size=16).digest()


def uniform(text: str, seed: int, purpose: str) -> float:
    """The same place as a number in [0, 1)."""
    return int.from_bytes(order_key(text, seed, purpose)[:6], "big") / 2**48
