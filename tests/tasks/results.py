"""Results held in memory: a lock's entries, and files by their path."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.results import Result

TOKENS = "0123456789abcdef0123456789abcdef.dir"
STAGES = ("download", "tokenize", "sample", "pretrain", "lora", "classify", "instruct", "evaluate")


@dataclass(frozen=True)
class Memory:
    """A place for files that is a dictionary."""

    files: Mapping[str, bytes] = field(default_factory=dict)

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def names(self, folder: str) -> list[str]:
        return sorted(path.removeprefix(f"{folder}/") for path in self.files if path.startswith(f"{folder}/"))


def entry(stage: str, params: Mapping[str, Any], deps: Mapping[str, str]) -> dict[str, Any]:
    listed = [{"path": path, "md5": md5} for path, md5 in deps.items()]
    return {"cmd": f"python -m stages.{stage}", "deps": listed, "params": {"params.yaml": dict(params)}, "outs": []}


def result(
    name: str,
    files: Mapping[str, str | Sequence[Mapping[str, Any]]] | None = None,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    tokens: str = TOKENS,
    stages: Sequence[str] = STAGES,
    stage: str | None = None,
    code: str = "1" * 32,
) -> Result:
    """A result of `stages`; rows become JSON Lines, texts stay as they are."""
    held = {
        path: (text if isinstance(text, str) else "".join(json.dumps(row) + "\n" for row in text)).encode()
        for path, text in (files or {}).items()
    }
    deps = {"evaluate": {"data/tokens": tokens}, "lora": {"gpt/lora.py": code}}
    entries = {step: entry(step, (params or {}).get(step, {}), deps.get(step, {})) for step in stages}
    return Result(name, "git revision", entries, (Memory(held),), stage=stage)


def messages(variant: str, right: Sequence[bool], part: str = "validation", word: str = "text") -> list[dict[str, Any]]:
    """Stored messages: spam and ham in turn, each answered right or wrong."""
    found = []
    for index, good in enumerate(right):
        expected = ("ham", "spam")[index % 2]
        predicted = expected if good else ("spam", "ham")[index % 2]
        found.append({"variant": variant, "part": part, "index": index, "text": f"{word} {index}",
                      "expected": expected, "predicted": predicted})  # fmt: skip
    return found


def instructions(right: Sequence[bool], part: str = "validation", **more: Any) -> list[dict[str, Any]]:
    """Stored answers, as evaluate scored them."""
    return [
        {"task": "instruct", "variant": "pretrained", "part": part, "index": index, "instruction": f"What is {index}?",
         "input": "", "reference": "this", "answer": "this" if good else "that", "exact_match": float(good)} | more
        for index, good in enumerate(right)
    ]  # fmt: skip


def losses(nats: Sequence[float], tokens: Sequence[int], part: str = "validation") -> str:
    rows = [f"pretrained,{part},{n},{t},{x}" for n, (x, t) in enumerate(zip(nats, tokens, strict=True))]
    return "\n".join(["variant,part,document,tokens,nats", *rows]) + "\n"
