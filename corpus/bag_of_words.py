"""The honest baseline: word counts and a logistic regression; it knows nothing of word order and fits in a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class BagOfWords:
    """What the baseline says: `labels` (sorted) name the columns of each array in `probabilities`, (N, labels)."""

    labels: list[str]
    probabilities: list[np.ndarray]

    def predicted(self, part: int = 0) -> list[str]:
        """The most probable label of each text of one part."""
        return [self.labels[i] for i in self.probabilities[part].argmax(axis=1)]


def bag_of_words(train_texts: Sequence[str], train_labels: Sequence[str], *texts: Sequence[str]) -> BagOfWords:
    """Fit on the training texts, and give class probabilities for each of the other parts (any number of classes).

    Deterministic: lbfgs draws nothing. Raises ValueError for unequal lengths, fewer than two labels, or no words.
    """
    if len(train_texts) != len(train_labels) or len(set(train_labels)) < 2:
        raise ValueError(
            f"{len(train_texts)} texts with {len(train_labels)} labels of {len(set(train_labels))} kinds; "
            "each text needs a label, and there must be 2 kinds or more"
        )
    if not any(character.isalnum() for text in train_texts for character in text):
        raise ValueError("the training texts have no words; letters or digits are needed")
    from sklearn.feature_extraction.text import CountVectorizer  # a second to import: a stage is to be at work first
    from sklearn.linear_model import LogisticRegression

    counts = CountVectorizer(token_pattern=r"(?u)\b\w+\b")  # noqa: S106 (scikit-learn's default drops one-letter words)
    model = LogisticRegression(max_iter=1000)
    model.fit(counts.fit_transform(train_texts), list(train_labels))
    labels = [str(label) for label in model.classes_]
    nothing = np.empty((0, len(labels)))
    return BagOfWords(labels, [model.predict_proba(counts.transform(part)) if len(part) else nothing for part in texts])
