"""What a model's weights alone don't say, beside them in its folder: labels and lengths, or the prompt's layout.

Hugging Face's loaders pass over the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "scriptorium.json"


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    text = json.dumps(dict(settings), indent=2, sort_keys=True, ensure_ascii=False)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def read_settings(folder: Path, *names: str) -> list[Any]:
    """The named settings; ValueError when the file or one of them is missing."""
    path = folder / FILE
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        return [settings[name] for name in names]
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: {folder} is not the folder of a fine-tuned model") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} must be a JSON object with {', '.join(names)} ({error})") from None
