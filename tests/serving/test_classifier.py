"""A classifier from its folder, and from an adapter's folder with the base."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serving.classifier import TextClassifier
from tests.serving.conftest import LABELS, MAX_LENGTH

TEXTS = ["Win a free prize now!", "The cat sees the dog.", "", "call me by the river", "1", "ß", "dog", "now, me", "!"]


@pytest.fixture(scope="module")
def classifier(folders: dict[str, Path]) -> TextClassifier:
    return TextClassifier.load(folders["classifier"], folders["tokenizer"])


def test_probabilities_are_those_of_the_labels(classifier: TextClassifier) -> None:
    table = classifier.probabilities(TEXTS)
    assert table.shape == (len(TEXTS), len(LABELS))
    np.testing.assert_allclose(table.sum(axis=1), 1.0, rtol=1e-5)
    labels = classifier.classify(TEXTS)
    assert labels == [LABELS[number] for number in table.argmax(axis=1)]
    assert len(set(labels)) > 1


def test_a_text_scores_alike_alone_and_among_others(classifier: TextClassifier) -> None:
    many = TEXTS * 5  # more than one batch
    alone = np.concatenate([classifier.probabilities([text]) for text in many])
    np.testing.assert_allclose(classifier.probabilities(many), alone, atol=1e-5)


def test_only_the_first_tokens_are_read(classifier: TextClassifier) -> None:
    tokens = classifier.encoding.encode_ordinary("one two three four five six seven eight nine ten")
    assert len(tokens) > MAX_LENGTH
    long, short, shorter = (classifier.encoding.decode(tokens[:n]) for n in (len(tokens), MAX_LENGTH, MAX_LENGTH - 1))
    whole, first, fewer = classifier.probabilities([long, short, shorter])
    np.testing.assert_allclose(whole, first, atol=1e-6)
    assert abs(whole - fewer).max() > 1e-4


def test_no_texts_give_no_labels(classifier: TextClassifier) -> None:
    assert classifier.classify([]) == []
    assert classifier.probabilities([]).shape == (0, len(LABELS))


def test_an_adapter_on_its_base_is_the_merged_classifier(folders: dict[str, Path]) -> None:
    adapted = TextClassifier.load(folders["adapter"], folders["tokenizer"], folders["base"])
    merged = TextClassifier.load(folders["merged"], folders["tokenizer"])
    assert adapted.labels == merged.labels == LABELS
    np.testing.assert_allclose(adapted.probabilities(TEXTS), merged.probabilities(TEXTS), atol=1e-5)


def test_a_folder_without_settings_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"scriptorium\.json is missing"):
        TextClassifier.load(folders["base"], folders["tokenizer"])
