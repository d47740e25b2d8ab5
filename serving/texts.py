"""The shapes in which MLflow hands over texts: a string, a list of strings, a frame, a series, an array."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def texts_of(model_input: Any, column: str) -> list[str]:
    """The texts of `model_input`; from a frame its column `column`, or its only one. ValueError for anything else."""
    if isinstance(model_input, pd.DataFrame):
        if column not in model_input and model_input.shape[1] != 1:
            raise ValueError(f"the table has columns {list(model_input.columns)}: {column!r} is needed")
        model_input = model_input[column] if column in model_input else model_input.iloc[:, 0]
    if isinstance(model_input, dict):  # whose keys would pass for texts
        raise ValueError(f"a dictionary with {list(model_input)} is no list of texts: make it a pandas.DataFrame")
    if isinstance(model_input, np.ndarray):  # one text alone comes as an array without dimensions
        model_input = model_input.reshape(-1).tolist()
    texts = [model_input] if isinstance(model_input, str) else list(model_input)
    if wrong := [text for text in texts if not isinstance(text, str)]:
        raise ValueError(f"{wrong[0]!r} is not a text: strings are allowed")
    return texts
