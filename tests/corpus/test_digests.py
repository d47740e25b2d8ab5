"""The set of digests is a set, whatever its digests and however often it grew."""

from __future__ import annotations

from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from corpus.digests import EMPTY, FIRST_SLOTS, SIZE, Digests

alike = st.binary(min_size=1, max_size=1).map(lambda end: bytes(SIZE - 1) + end)  # they want the same first place
any_digest = st.one_of(alike, st.binary(min_size=SIZE, max_size=SIZE)).filter(lambda digest: digest != EMPTY)


@given(st.lists(any_digest))
def test_only_the_first_of_equal_digests_is_new(digests):
    seen, known = Digests(), set()
    for digest in digests:
        assert seen.add(digest) == (digest not in known)
        known.add(digest)
    assert seen.count == len(known)


def test_it_remembers_all_while_it_grows():
    digests = [blake2b(str(number).encode(), digest_size=SIZE).digest() for number in range(4 * FIRST_SLOTS)]
    seen = Digests()
    assert all(map(seen.add, digests))
    assert not any(map(seen.add, digests))
    assert seen.count == len(digests) and 2 * seen.slots >= 3 * seen.count and len(seen.table) == SIZE * seen.slots


def test_slots_wrap_around_the_end():
    last = (FIRST_SLOTS - 1).to_bytes(8, "little")
    digests = [last + number.to_bytes(8, "little") for number in range(1, 9)]
    seen = Digests()
    assert all(map(seen.add, digests)) and not any(map(seen.add, digests))
