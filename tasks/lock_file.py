"""dvc.lock as text: what its entries say, and whether it is whole. Who may read it when: `tasks/dvc_repo.py`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError


def read_lock(root: Path) -> dict[str, dict[str, Any]]:
    """The entries of dvc.lock; ValueError when it is cut short (mostly still YAML, but half a line or half an item)."""
    file = root / "dvc.lock"
    damaged = f"{file} is damaged (DVC was interrupted while writing it)"
    return parse_lock(file.read_bytes(), damaged) if file.exists() else {}


def parse_lock(data: bytes, otherwise: str) -> dict[str, dict[str, Any]]:
    """The entries of a dvc.lock, from wherever its bytes come; ValueError(otherwise) when it is not whole."""
    try:
        text = data.decode("utf-8")
        content = YAML(typ="safe").load(text)
        entries: dict[str, dict[str, Any]] = content["stages"]
        items = [item for entry in entries.values() for kind in ("deps", "outs") for item in entry.get(kind, ())]
        whole = text.endswith("\n") and all("cmd" in entry for entry in entries.values())
        whole = whole and all("path" in item and "md5" in item for item in items)
    except (YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise ValueError(otherwise)
    return entries


def split_lock(root: Path) -> list[str]:
    """The head of dvc.lock, and each stage's entry, as text."""
    return re.split(r"(?m)^(?=  \S)", (root / "dvc.lock").read_text(encoding="utf-8"))
