"""Compose presets of `conf/` into `params.yaml`, comments kept:  python -m pipeline.preset data=book model=small

A preset is a partial tree. Every preset of one group sets the same leaves (a test asserts it), so that the result does
not depend on which presets were taken before.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.params import PARAMS_FILE, check_params, dump_yaml, read_yaml

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
            raise ValueError(f"{malformed[0]!r} is not GROUP=NAME, as in data=book")
        save(compose(read_yaml(PARAMS_FILE), {group: name for group, _, name in pairs}))
    except (ValueError, OSError) as error:
        print(f"preset: {error}", file=sys.stderr)
        return 1
    print(f"params.yaml: {', '.join(arguments)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
