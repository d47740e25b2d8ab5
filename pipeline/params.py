"""Reading, checking and editing `params.yaml`.

ruamel.yaml reads YAML 1.2, where `4e-4` is a number (PyYAML takes it for a string), and keeps comments when it writes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML

from pipeline.schema import Params
from pipeline.secrets import without_secrets

PARAMS_FILE = Path("params.yaml")
MOST_VALUES, DEEPEST = 100_000, 50


def read_yaml(path: Path | str) -> Any:
    """The file's tree, comments attached; ValueError when it is missing, not YAML, or unfolds without measure."""
    path = Path(path)
    try:
        tree = round_trip().load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None
    except OSError:
        raise
    except Exception as error:  # YAMLError as a rule, but on damaged text ruamel falls over in many other ways
        words = " ".join(str(error).split())[:500]
        raise ValueError(f"{path} is not valid YAML: {words or type(error).__name__}") from None
    _check_size(tree, path)
    return tree


def _check_size(tree: Any, path: Path) -> None:
    """ValueError where aliases of aliases make much of little, or an alias holds itself."""
    left, nodes = MOST_VALUES, [(tree, 0)]
    while nodes:
        node, depth = nodes.pop()
        left -= 1
        if left < 0 or depth > DEEPEST:
            raise ValueError(f"{path} unfolds to more than {MOST_VALUES:,} values, or is nested over {DEEPEST} deep")
        inner = node.values() if isinstance(node, Mapping) else node if isinstance(node, list | tuple | set) else ()
        nodes += [(value, depth + 1) for value in inner]


def dump_yaml(tree: Any) -> str:
    buffer = io.StringIO()
    round_trip().dump(tree, buffer)
    return buffer.getvalue()


def round_trip() -> YAML:
    yaml = YAML(typ="rt")
    yaml.width = 4096  # never fold an address
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(
        type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def load_params(path: Path | str = PARAMS_FILE) -> Params:
    """The validated parameters; ValueError that lists every problem, each with its path and what is allowed."""
    return check_params(read_yaml(path), str(path))


def check_params(tree: Any, where: str) -> Params:
    if not isinstance(tree, Mapping):
        raise ValueError(f"{where} must hold a mapping of sections, not {type(tree).__name__}")
    try:
        return Params.model_validate(plain(tree))
    except ValidationError as error:
        found = problems(error)
        raise ValueError(f"{where}: {found[0]}" if len(found) == 1 else "\n  ".join([f"{where}:", *found])) from None


def problems(error: ValidationError) -> list[str]:
    """One sentence a problem: where, what is there, what is allowed."""
    found = []
    for item in error.errors():
        place = ".".join(str(part)[:100] for part in item["loc"])
        text = without_secrets(item["msg"].removeprefix("Value error, "))
        if item["type"] == "extra_forbidden":
            text = "is not a known parameter"
        elif item["type"] == "missing":
            text = "is missing"
        elif item["type"] != "value_error":
            text = f"is {shortened(item['input'])}: {text[0].lower()}{text[1:]}"
        link = "." if item["type"] == "value_error" and place else " "  # our own rules begin with the leaf's name
        found += [f"{place}{link}{line}".strip() for line in text.splitlines()]
    return found


def shortened(value: Any) -> str:
    """A value as an error shows it: a line at most, and no password."""
    text = without_secrets(repr(value))
    return text if len(text) <= 200 else f"{text[:199]}…"


def plain(tree: Any) -> Any:
    """Ruamel's annotated containers and numbers as Python's own, as the strict schema wants them."""
    if isinstance(tree, Mapping):
        return {str(key): plain(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [plain(value) for value in tree]
    for kind in (bool, int, float, str):
        if isinstance(tree, kind):
            return kind(tree)
    return tree


def leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted path → value of every leaf; a list is one leaf, an empty mapping too."""
    if not isinstance(tree, Mapping) or (not tree and prefix):
        return {prefix: tree}
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= leaves(value, f"{prefix}.{key}" if prefix else str(key))
    return found
