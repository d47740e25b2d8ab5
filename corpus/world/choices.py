"""Choices: the only place where chance enters the embedded corpus, and where its price is written down.

A text of the world is what a fixed program writes when its choices are made. Each choice picks one of some weighted
alternatives, and costs -ln of its probability; what is certain costs nothing. Where a text can come about in one way
only, the sum of its costs is -ln P(text), exactly: see `derivations.py`, which proves it.

Same bytes everywhere: chance is BLAKE2b in counter mode and whole numbers (Python's `random` may change its methods),
logarithms come from `decimal`, correctly rounded by its specification, and sums are whole numbers of 10^-12 nats.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection, Hashable, Sequence
from decimal import Context, Decimal
from functools import cache
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

PICO = 10**12  # costs are counted in whole 10^-12 nats, so that sums are exact in any order

_WORDS = struct.Struct("<16I")  # a digest of 64 bytes is 16 random numbers of 32 bits
_LN = Context(prec=30)


@cache
def ln(n: int) -> int:
    """The natural logarithm of a whole number in units of 10^-12, rounded."""
    return int((Decimal(n).ln(_LN) * PICO).to_integral_value())


class Table(Generic[T]):
    """Alternatives with whole weights (all 1 unless given); an item's probability is its share of the weights.

    Raises ValueError for no items, items that are equal (a text could then come about in two ways), or weights below 1.
    """

    __slots__ = ("items", "spread", "total", "weights")

    def __init__(self, items: Sequence[T], weights: Sequence[int] | None = None) -> None:
        self.items = tuple(items)
        counts = tuple(weights) if weights is not None else (1,) * len(self.items)
        if not self.items or len(counts) != len(self.items) or min(counts) < 1:
            raise ValueError(f"{len(self.items)} items with {len(counts)} weights; each needs one, of 1 or more")
        self.weights = dict(zip(self.items, counts, strict=True))
        if len(self.weights) < len(self.items):
            raise ValueError(f"equal items in a table: {[x for x in self.items if self.items.count(x) > 1][:2]}")
        self.total = sum(counts)
        self.spread = [item for item, count in zip(self.items, counts, strict=True) for _ in range(count)]

    def __len__(self) -> int:
        return len(self.items)

    def without(self, but: Collection[T]) -> int:
        """The weight that is left when the items `but` may not be picked."""
        return self.total - sum(self.weights.get(item, 0) for item in set(but)) if but else self.total


class Choices:
    """A stream of choices decided by (seed, names), and `cost`, what they cost so far in units of 10^-12 nats."""

    __slots__ = ("_key", "_left", "_turn", "cost")

    def __init__(self, seed: int, *names: str | int) -> None:
        self.cost = 0
        self._key = hashlib.blake2b("\0".join(map(str, (seed, *names))).encode(), digest_size=32).digest()
        self._turn = 0
        self._left: list[int] = []

    @property
    def nats(self) -> float:
        """The surprisal of all choices so far."""
        return self.cost / PICO

    def below(self, n: int) -> int:
        """A uniform whole number in [0, n); what lies beyond the last multiple of n is drawn again, so exactly so."""
        limit = 2**32 - 2**32 % n
        while True:
            if not self._left:
                digest = hashlib.blake2b(self._turn.to_bytes(8, "little"), key=self._key, digest_size=64).digest()
                self._left = list(_WORDS.unpack(digest))
                self._turn += 1
            word = self._left.pop()
            if word < limit:
                return word % n

    def pick(self, table: Table[T], but: Collection[T] = ()) -> T:
        """One item of the table, none of `but`: drawing again until it fits renormalizes the weights of the others."""
        while True:
            item = table.spread[self.below(table.total)]
            if item not in but:
                break
        self.cost += ln(table.without(but)) - ln(table.weights[item])
        return item
