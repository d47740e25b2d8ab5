"""The trained models as MLflow keeps them: a small folder, our code beside it, nothing pickled; texts in, texts out."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from gpt.settings import read_settings
from pipeline.stage import Stage

CODE = tuple(Path(package) for package in ("corpus", "gpt", "serving"))
LIBRARIES = ("filelock", "fsspec", "numpy", "pandas", "requests", "safetensors", "tiktoken", "tokenizers", "torch")


def requirements() -> list[str]:
    """The libraries that answering takes, at the versions that trained (torch without its build's suffix)."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in LIBRARIES]


def log_base(stage: Stage, folder: Path, tokenizer: Path, name: str) -> None:
    """The model that writes on."""
    artifacts = {"model": folder, "tokenizer": tokenizer}
    params = {"temperature": 0.0, "seed": 0, "max_new_tokens": 60}
    stage.log_model(name, Path("serving/mlflow_base.py"), artifacts, CODE, requirements(), ["Long ago"], params)


def log_classifier(stage: Stage, folder: Path, tokenizer: Path, name: str, base: Path | None = None) -> None:
    """A classifier's folder, or an adapter's with its base."""
    artifacts = {"model": folder, "tokenizer": tokenizer} | ({"base": base} if base else {})
    example = ["Free entry: text WIN to claim your prize"]
    params = {"probabilities": False}
    stage.log_model(name, Path("serving/mlflow_classifier.py"), artifacts, CODE, requirements(), example, params)


def log_assistant(stage: Stage, folder: Path, tokenizer: Path, name: str) -> None:
    artifacts = {"model": folder, "tokenizer": tokenizer}
    example = ["What is the opposite of hot?"]
    (max_new_tokens,) = read_settings(folder, "max_new_tokens")
    params = {"temperature": 0.0, "seed": 0, "max_new_tokens": max_new_tokens}
    stage.log_model(name, Path("serving/mlflow_assistant.py"), artifacts, CODE, requirements(), example, params)
