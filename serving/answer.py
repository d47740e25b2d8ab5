"""Answers for other programs: a JSON line on standard input, a JSON line on standard output, until the input ends.

    python -m serving.answer
    {"model": "models/assistant/pretrained", "tokenizer": "data/tokenizer", "prompt": "What is the plural of fox?"}
    {"answer": "foxes."}

Answers are greedy, so that two models can be compared. What cannot be answered comes back as {"error": "…"}. Each model
is loaded once. `flows.compare` asks it what no stored file answers: flows import no PyTorch.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import IO, Any

from serving.assistant import Assistant

FIELDS = ("model", "tokenizer", "prompt")


def answer(line: str, loaded: dict[tuple[str, str], Assistant]) -> dict[str, str]:
    """The answer to one line; `loaded` keeps the models that were used before."""
    try:
        asked: Any = json.loads(line)
        if not isinstance(asked, dict) or sorted(asked) != sorted(FIELDS):
            raise ValueError(f"a line is an object with {', '.join(FIELDS)}, all of them texts")
        model, tokenizer, prompt = (str(asked[field]) for field in FIELDS)
        if (model, tokenizer) not in loaded:
            loaded[model, tokenizer] = Assistant.load(Path(model), Path(tokenizer))
        return {"answer": loaded[model, tokenizer].answers([(prompt, "")])[0]}
    except (ValueError, OSError) as error:
        return {"error": " ".join(str(error).split())}


def main(lines: IO[str], out: IO[str]) -> int:
    loaded: dict[tuple[str, str], Assistant] = {}
    for line in lines:
        if line.strip():
            print(json.dumps(answer(line, loaded), ensure_ascii=False), file=out, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.stdin, sys.stdout))
