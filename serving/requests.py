"""What a served model takes in one request: bounds on it, and refusals that reach the caller as HTTP 400.

MLflow's scoring server answers an MlflowException with the status of its code. Any other error it answers with a stack
trace, so that what is the caller's mistake has to be told as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mlflow.exceptions import MlflowException

MAX_TEXTS = 64  # in one request; more are sent in several
MAX_CHARACTERS = 20_000  # of one text; what the model can read is bounded by its context, what is tokenized by this


@contextmanager
def refusing() -> Iterator[None]:
    """Inside, a ValueError is the caller's mistake: INVALID_PARAMETER_VALUE, which is HTTP 400, with its sentence."""
    try:
        yield
    except ValueError as error:
        raise MlflowException.invalid_parameter_value(str(error)) from error


def check_sizes(texts: Sequence[str]) -> None:
    """ValueError when a request holds no text, too many of them, or too long a one."""
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise ValueError(f"the request has {len(texts)} texts: 1 to {MAX_TEXTS} are allowed")
    if (longest := max(map(len, texts))) > MAX_CHARACTERS:
        raise ValueError(f"a text has {longest} characters: at most {MAX_CHARACTERS} are allowed")
