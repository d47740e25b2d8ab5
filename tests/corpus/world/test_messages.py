"""Messages: the rule decides each, both classes speak alike, and counting words is not enough."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from corpus.bag_of_words import bag_of_words
from corpus.world.letters import BARGAINS
from corpus.world.messages import asks_for_coins, some_messages

ROWS = some_messages(2000, 123)


def test_halves_without_copies():
    assert Counter(label for label, _ in ROWS) == {"ham": 1000, "spam": 1000}
    assert len({text for _, text in ROWS}) == len(ROWS)
    assert not any(re.search(r"[\t\n{}]", text) for _, text in ROWS)
    assert some_messages(20, 123) == some_messages(20, 123) != some_messages(20, 124)
    with pytest.raises(ValueError, match="messages is 1"):
        some_messages(1, 123)


def test_the_rule_says_which_is_spam():
    assert all(asks_for_coins(text) == (label == "spam") for label, text in ROWS)


@pytest.mark.parametrize(("demand", "offer"), BARGAINS)
def test_a_demand_and_its_offer_have_the_same_words(demand, offer):
    def words(text):
        return Counter(re.findall(r"[\w{}]+", text.lower()))

    assert words(demand) == words(offer)


def test_no_word_gives_a_class_away():
    texts = {label: " ".join(text for row, text in ROWS if row == label) for label in ("ham", "spam")}
    counts = {label: Counter(re.findall(r"\w+", text.lower())) for label, text in texts.items()}
    common = {word for count in counts.values() for word, n in count.items() if n >= 60}
    assert all(counts["ham"][word] and counts["spam"][word] for word in common)


def test_a_bag_of_words_finds_a_part_of_it():
    train, test = ROWS[:1400], ROWS[1400:]
    bag = bag_of_words([text for _, text in train], [label for label, _ in train], [text for _, text in test])
    right = sum(said == label for said, (label, _) in zip(bag.predicted(), test, strict=True))
    assert 0.75 < right / len(test) < 0.93
