"""Compose presets of `conf/` into `params.yaml`, and set single leaves, comments kept:

    python -m pipeline.preset data=book model=small pretrain.learning_rate=4e-3

A preset is a partial tree. Every preset of one group sets the same leaves (a test asserts it), so that the result does
not depend on which presets were taken before.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from pipeline.params import PARAMS_FILE, check_params, dump_yaml, leaves, read_yaml, round_trip

CONF = Path("conf")
NO_PRESETS = {"sweep"}  # sweeps lie beside the presets, but are no part of params.yaml


def groups() -> dict[str, list[str]]:
    """Group → names of its presets, sorted."""
    folders = sorted(folder for folder in CONF.iterdir() if folder.name not in NO_PRESETS)
    return {folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in folders}


def compose(params: Any, choices: Mapping[str, str]) -> Any:
    """`params` with the leaves of the chosen presets; ValueError for an unknown group or name."""
    if not isinstance(params, Mapping):
        raise ValueError(f"{PARAMS_FILE} must hold a mapping of sections, not {type(params).__name__}")
    known = groups()
    for group, name in choices.items():
        if group not in known:
            raise ValueError(f"conf/ has no group {group!r}: allowed are {', '.join(known)}")
        if name not in known[group]:
            raise ValueError(f"conf/{group} has no preset {name!r}: allowed are {', '.join(known[group])}")
        overlay(params, read_yaml(CONF / group / f"{name}.yaml"))
    return params


def overlay(tree: Any, preset: Any) -> None:
    """Set the preset's leaves in `tree` in place, so that the comments around them stay."""
    for key, value in preset.items():
        if isinstance(value, Mapping) and value and isinstance(tree.get(key), Mapping):
            overlay(tree[key], value)
        else:
            tree[key] = value


def override(params: Any, changes: Sequence[str]) -> Any:
    """`params` with single leaves set, each as "LEAF=VALUE" (YAML); ValueError for a leaf that is not there."""
    for change in changes:
        leaf, equals, text = change.partition("=")
        if not (leaf and equals):
            raise ValueError(f"{change!r} is not LEAF=VALUE, as in pretrain.learning_rate=4e-3")
        *sections, name = leaf.split(".")
        place = params
        for section in sections:
            place = place.get(section) if isinstance(place, Mapping) else None
        if not isinstance(place, Mapping) or name not in place:
            close = difflib.get_close_matches(leaf, leaves(params), n=1)
            raise ValueError(f"{leaf} is not a known parameter" + (f": did you mean {close[0]}?" if close else ""))
        try:
            place[name] = round_trip().load(text)  # type: ignore[index]
        except YAMLError as error:
            raise ValueError(f"{change!r}: the value is not valid YAML: {' '.join(str(error).split())}") from None
    return params


def change_params(presets: Mapping[str, str], changes: Sequence[str]) -> None:
    """Presets first, then single leaves, into `params.yaml`: all of it, or, with ValueError, nothing."""
    save(override(compose(read_yaml(PARAMS_FILE), presets), changes))


def save(tree: Any) -> None:
    """Replace `params.yaml` by the checked tree; an unchanged file keeps its time."""
    text = dump_yaml(tree)
    check_params(tree, str(PARAMS_FILE))
    if text != PARAMS_FILE.read_text(encoding="utf-8"):
        beside = PARAMS_FILE.with_suffix(".yaml.new")
        beside.write_text(text, encoding="utf-8")
        beside.replace(PARAMS_FILE)


def main(arguments: list[str]) -> int:
    try:
        pairs = [argument.partition("=") for argument in arguments]
        if malformed := [argument for argument, pair in zip(arguments, pairs, strict=True) if not all(pair)]:
            raise ValueError(f"{malformed[0]!r} is not GROUP=NAME, as in data=book, nor LEAF=VALUE")
        known = leaves(read_yaml(PARAMS_FILE))
        changes = [
            argument for argument, pair in zip(arguments, pairs, strict=True) if "." in pair[0] or pair[0] in known
        ]
        change_params({group: name for group, _, name in pairs if f"{group}={name}" not in changes}, changes)
    except (ValueError, OSError) as error:
        print(f"preset: {error}", file=sys.stderr)
        return 1
    print(f"params.yaml: {', '.join(arguments)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
