"""Scores (the evaluation chapter): of a classifier's labels by scikit-learn, and of answers by their words.

Everything returned is plain Python (float, int, list, dict), ready for JSON.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

_EDGES = " \t\r\n.,;:!?\"'“”‘’`()[]"


def classification_scores(truth: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """accuracy, macro_f1, per label precision, recall, f1 and count, and the confusion matrix (rows: truth).

    A label that was never predicted has precision 0, one that never occurs recall 0. Raises ValueError for no rows,
    unequal lengths, or a label outside `labels`.
    """
    if len(truth) != len(predicted) or len(truth) == 0:
        raise ValueError(f"{len(truth)} true and {len(predicted)} predicted labels; equally many, and some, are needed")
    if unknown := sorted((set(truth) | set(predicted)) - set(labels)):
        raise ValueError(f"labels {', '.join(unknown)} are not among {', '.join(labels)}")
    from sklearn import metrics  # a second to import: a stage is to be at work first

    precision, recall, f1, count = metrics.precision_recall_fscore_support(
        truth, predicted, labels=list(labels), average=None, zero_division=0
    )
    return {
        "accuracy": float(metrics.accuracy_score(truth, predicted)),
        "macro_f1": float(f1.mean()),
        "labels": {
            label: {"precision": float(p), "recall": float(r), "f1": float(f), "count": int(n)}
            for label, p, r, f, n in zip(labels, precision, recall, f1, count, strict=True)
        },
        "confusion": metrics.confusion_matrix(truth, predicted, labels=list(labels)).tolist(),
    }


def exact_match(answer: str, reference: str) -> bool:
    """Equal but for Unicode form (NFKC), case, runs of white space, and punctuation or quotes at either end."""
    return _normalized(answer) == _normalized(reference)


def token_overlap(answer: str, reference: str) -> float:
    """F1 of the two texts' words as multisets (SQuAD's, without dropping articles): 1 is the same words in any order.

    Words are runs of letters and digits, case folded. Two texts without words agree (1), one without never does (0).
    """
    said, wanted = Counter(_words(answer)), Counter(_words(reference))
    if not said or not wanted:
        return float(said == wanted)
    return 2 * (said & wanted).total() / (said.total() + wanted.total())


def answer_scores(answers: Sequence[str], references: Sequence[str], kinds: Sequence[str]) -> dict[str, dict[str, Any]]:
    """count, exact_match and token_overlap (means) for "all" and for each kind of task, kinds sorted."""
    rows = [
        (kind, exact_match(answer, reference), token_overlap(answer, reference))
        for answer, reference, kind in zip(answers, references, kinds, strict=True)
    ]
    if not rows:
        raise ValueError("there are no answers to score; at least 1 is needed")
    groups = {"all": rows} | {kind: [row for row in rows if row[0] == kind] for kind in sorted(set(kinds))}
    return {
        kind: {
            "count": len(group),
            "exact_match": sum(matched for _, matched, _ in group) / len(group),
            "token_overlap": sum(overlap for _, _, overlap in group) / len(group),
        }
        for kind, group in groups.items()
    }


def _normalized(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(_EDGES)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())
