"""Which parameters does a stage read? A view of them that answers as they do, and notes every leaf that is asked for.

    seen = set[str]()
    stage.params = recording(load_params(), seen)   # then run the stage's main

Validating is not reading: the view is made from parameters that were validated before. `tests/reads.py` runs every
stage with it and holds dvc.yaml against what was seen.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any, cast

from pipeline.schema import Params, Section


def recording(params: Params, seen: set[str]) -> Params:
    """A view of `params` that adds the dotted path of each leaf that is read to `seen`."""
    return cast(Params, _View(params, "", seen))


def leaves_of(section: type[Section] = Params, prefix: str = "") -> list[str]:
    """The dotted path of every leaf of the schema, in its order; a list or a free mapping is one leaf."""
    found: list[str] = []
    for name, field in section.model_fields.items():
        inner = field.annotation
        nested = isinstance(inner, type) and issubclass(inner, Section)
        found += leaves_of(cast("type[Section]", inner), f"{prefix}{name}.") if nested else [prefix + name]
    return found


class _View:
    """A section seen through; its methods and properties see the view, and so what they read is noted, too."""

    def __init__(self, section: Section, prefix: str, seen: set[str]) -> None:
        self._section, self._prefix, self._seen = section, prefix, seen

    def __getattr__(self, name: str) -> Any:
        if name in type(self._section).model_fields:
            value = getattr(self._section, name)
            if isinstance(value, Section):
                return _View(value, f"{self._prefix}{name}.", self._seen)
            self._seen.add(self._prefix + name)
            return value
        member = next((vars(kind)[name] for kind in type(self._section).__mro__ if name in vars(kind)), None)
        if isinstance(member, property) and member.fget is not None:
            return member.fget(self)
        if isinstance(member, FunctionType) and member.__module__ == Params.__module__:
            return member.__get__(self)
        raise AttributeError(f"{self._prefix}{name}: a view of parameters has no such thing")

    def model_dump(self, exclude: set[str] | None = None) -> dict[str, Any]:
        """Reads everything but `exclude`."""
        values = {name: getattr(self, name) for name in type(self._section).model_fields if name not in (exclude or ())}
        return {name: value.model_dump() if isinstance(value, _View) else value for name, value in values.items()}
