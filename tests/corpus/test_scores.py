"""Scores by hand-made cases, and the bag-of-words baseline on the real messages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.bag_of_words import bag_of_words
from corpus.messages import read_messages, split_messages
from corpus.scores import answer_scores, classification_scores, exact_match, token_overlap


def test_classification_by_hand() -> None:
    scores = classification_scores(["a", "a", "a", "b"], ["a", "a", "b", "b"], ["a", "b", "c"])
    assert scores["accuracy"] == 0.75
    recall, f1 = pytest.approx(2 / 3), pytest.approx(0.8)
    assert scores["labels"]["a"] == {"precision": 1.0, "recall": recall, "f1": f1, "count": 3}
    assert scores["labels"]["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "count": 0}
    assert scores["macro_f1"] == pytest.approx((0.8 + 2 / 3 + 0) / 3)
    assert scores["confusion"] == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert json.loads(json.dumps(scores)) == scores


@pytest.mark.parametrize(("truth", "predicted"), [([], []), (["a"], []), (["a"], ["z"])])
def test_labels_that_cannot_be_scored_are_refused(truth: list[str], predicted: list[str]) -> None:
    with pytest.raises(ValueError, match=r"equally many|not among a, b"):
        classification_scores(truth, predicted, ["a", "b"])


def test_exact_match_forgives_form_not_words() -> None:
    assert exact_match(' "The Answer  is 42." ', "the answer is 42")
    assert not exact_match("the answer is 43", "the answer is 42")
    assert not exact_match("answer is 42", "the answer is 42")


def test_token_overlap_by_hand() -> None:
    assert token_overlap("the cat sat", "The cat, the dog") == pytest.approx(2 * 2 / (3 + 4))
    assert token_overlap("...", "!") == 1.0 and token_overlap("", "word") == 0.0


@given(st.text(), st.text())
def test_overlap_is_symmetric_bounded_and_one_for_matches(a: str, b: str) -> None:
    assert 0.0 <= token_overlap(a, b) == token_overlap(b, a) <= 1.0
    assert token_overlap(a, a) == 1.0 and exact_match(a, a)


def test_answers_are_scored_by_kind() -> None:
    scores = answer_scores(["yes", "no", "a b"], ["Yes.", "yes", "a c"], ["x", "x", "b"])
    assert list(scores) == ["all", "b", "x"]
    assert scores["all"] == {"count": 3, "exact_match": pytest.approx(1 / 3), "token_overlap": 0.5}
    assert scores["x"] == {"count": 2, "exact_match": 0.5, "token_overlap": 0.5}
    with pytest.raises(ValueError, match="no answers"):
        answer_scores([], [], [])


def test_bag_of_words_learns_what_words_tell() -> None:
    texts, labels = ["good day", "good u", "bad day", "bad u", "meh"], ["p", "p", "n", "n", "o"]
    fitted = bag_of_words(texts, labels, ["good", "so bad"], [])
    assert fitted.labels == ["n", "o", "p"] and fitted.predicted() == ["p", "n"]
    assert fitted.probabilities[1].shape == (0, 3)
    np.testing.assert_allclose(fitted.probabilities[0].sum(axis=1), 1.0)
    np.testing.assert_array_equal(bag_of_words(texts, labels, ["good"]).probabilities[0][0], fitted.probabilities[0][0])


def test_bag_of_words_refuses_what_cannot_be_learnt() -> None:
    with pytest.raises(ValueError, match="2 kinds or more"):
        bag_of_words(["a", "b"], ["x", "x"])
    with pytest.raises(ValueError, match="no words"):
        bag_of_words(["!", "?"], ["x", "y"])


def test_the_baseline_on_the_real_messages(mirror: Path) -> None:
    parts = split_messages(
        read_messages(mirror / "SMSSpamCollection", ["ham", "spam"]),
        train_fraction=0.7,
        validation_fraction=0.1,
        seed=123,
        balance=True,
        book_compatible=False,
    )
    train, test = parts["train"], parts["test"]
    fitted = bag_of_words(train["text"], train["label"], test["text"])
    assert classification_scores(test["label"], fitted.predicted(), fitted.labels)["accuracy"] > 0.9
