"""Prompts that no stored file answers, asked of each result's assistant, by a process that may import PyTorch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.results import Result

ASSISTANTS = ("models/assistant/pretrained", "models/assistant/random")
TOKENIZER = "data/tokenizer"
TIME_LIMIT_S = 600.0


@dataclass(frozen=True)
class LiveAnswer:
    """One prompt and each result's answer, in order; where a result cannot answer, why not, in brackets."""

    prompt: str
    answers: tuple[str, ...]


def answer_live(
    results: Sequence[Result], prompts: Sequence[str], time_limit_s: float = TIME_LIMIT_S
) -> list[LiveAnswer]:
    """Every prompt's answers, greedy. RuntimeError when the process that answers ends badly."""
    if not prompts:
        return []
    with tempfile.TemporaryDirectory(prefix="compare-") as scratch:
        models = [_model(result, Path(scratch, str(number))) for number, result in enumerate(results)]
        lines = [
            json.dumps({"model": str(model), "tokenizer": str(model.parents[2] / TOKENIZER), "prompt": prompt})
            for prompt in prompts
            for model in models
            if model is not None
        ]
        said = iter(_ask(lines, time_limit_s))
        return [
            LiveAnswer(
                prompt, tuple(next(said) if model else "(its assistant's files are not here)" for model in models)
            )
            for prompt in prompts
        ]


def _model(result: Result, place: Path) -> Path | None:
    """The assistant's folder, written below `place` with its tokenizer's; None when they are nowhere whole."""
    if not result.checkout(TOKENIZER, place):
        return None
    return next((place / folder for folder in ASSISTANTS if result.checkout(folder, place)), None)


def _ask(lines: Sequence[str], time_limit_s: float) -> list[str]:
    root = Path(__file__).resolve().parent.parent
    path = os.pathsep.join(part for part in (str(root), os.environ.get("PYTHONPATH")) if part)
    command = [sys.executable, "-P", "-m", "serving.answer"]
    try:
        done = subprocess.run(
            command, input="\n".join(lines) + "\n", capture_output=True, text=True, encoding="utf-8",
            env=os.environ | {"PYTHONPATH": path}, timeout=time_limit_s,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the prompts were not answered within {time_limit_s:g} s") from None
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or len(answers) != len(lines):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RuntimeError(f"serving.answer ended with status {done.returncode}: {last}")
    return [found.get("answer", f"({found.get('error', '')})") for found in answers]
