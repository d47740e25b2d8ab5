"""A set of digests that takes little memory, for corpora of many millions of documents.

Open addressing in one block of bytes, each slot a digest or empty, a third to two thirds of them taken: 24 to 48 bytes
a digest, where Python's set of `bytes` takes more than 100. Growing, it holds the old block and the new one at once.
"""

from __future__ import annotations

SIZE = 16  # bytes of a digest
EMPTY = bytes(SIZE)  # as a digest, no text is known to have it
FIRST_SLOTS = 1 << 10  # a power of two, so that a digest's first place is some of its bits


class Digests:
    """The digests seen so far; bytes of SIZE, evenly distributed as a good hash function's are."""

    def __init__(self) -> None:
        self.count = 0
        self.slots = FIRST_SLOTS
        self.table = bytearray(SIZE * self.slots)

    def add(self, digest: bytes) -> bool:
        """Whether it is new; then it is held from now on."""
        assert len(digest) == SIZE and digest != EMPTY
        place = self.place(digest)
        if self.table[place : place + SIZE] == digest:
            return False
        self.table[place : place + SIZE] = digest
        self.count += 1
        if 3 * self.count > 2 * self.slots:
            self.grow()
        return True

    def place(self, digest: bytes) -> int:
        """Where it stands in the table, or would."""
        table, end = self.table, SIZE * self.slots
        at = SIZE * (int.from_bytes(digest[:8], "little") & (self.slots - 1))
        while (there := table[at : at + SIZE]) != EMPTY and there != digest:
            at = (at + SIZE) % end
        return at

    def grow(self) -> None:
        """Twice as many slots."""
        old = self.table
        self.slots *= 2
        self.table = bytearray(SIZE * self.slots)
        for at in range(0, len(old), SIZE):
            if (digest := bytes(old[at : at + SIZE])) != EMPTY:
                place = self.place(digest)
                self.table[place : place + SIZE] = digest
