"""Texts in every shape that MLflow hands over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from serving.texts import texts_of


@pytest.mark.parametrize(
    "given",
    [
        ["a", "b"],
        ("a", "b"),
        np.array(["a", "b"]),
        np.array(["a", "b"], dtype=object),
        pd.Series(["a", "b"]),
        pd.DataFrame({"text": ["a", "b"]}),
        pd.DataFrame({"number": [1, 2], "text": ["a", "b"]}),
        pd.DataFrame({"another": ["a", "b"]}),
        pd.DataFrame(["a", "b"]),
    ],
    ids=["list", "tuple", "array", "objects", "series", "frame", "wide frame", "only column", "unnamed column"],
)
def test_every_shape_of_texts(given: Any) -> None:
    assert texts_of(given, "text") == ["a", "b"]


def test_one_string_is_one_text() -> None:
    assert texts_of("ab", "text") == ["ab"]
    assert texts_of([], "text") == []


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["a", 1], "1 is not a text"),
        (["a", None], "None is not a text"),
        (pd.DataFrame({"text": ["a", None]}), "nan is not a text|None is not a text"),
        (pd.DataFrame({"one": ["a"], "two": ["b"]}), r"columns \['one', 'two'\]: 'text' is needed"),
        (pd.DataFrame(), "'text' is needed"),
        ({"text": ["a"]}, "make it a pandas.DataFrame"),
    ],
)
def test_what_holds_no_texts_is_refused(given: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        texts_of(given, "text")
