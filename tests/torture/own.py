"""Files of one's own, for configurations that the tiny workspace has none for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from gpt.tokenizer import END_OF_TEXT, byte_symbols
from tests.tiny import write_own_data


def own(name: str, sha256: str | None = None) -> dict[str, Any]:
    return {"name": name, "url": f"data/own/{name}", "sha256": sha256, "member": None}


def own_files(folder: Path, weights: Path | None = None) -> None:
    """Besides text, messages and instructions: letters, a vocabulary of three merges, and somebody's weights."""
    write_own_data(folder)
    lines = (folder / "text.txt").read_text().splitlines()
    (folder / "letters.txt").write_text("\n---\n".join("\n".join(lines[at : at + 5]) for at in range(0, 160, 5)))
    symbols = [*byte_symbols().values(), "th", "in", "an", END_OF_TEXT]
    (folder / "vocab.bpe").write_text("#version: 0.2\nt h\ni n\na n\n", encoding="utf-8")
    (folder / "encoder.json").write_text(json.dumps({text: number for number, text in enumerate(symbols)}))
    if weights is not None:
        shutil.copy(weights, folder / "gpt2.safetensors")
