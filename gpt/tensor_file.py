"""Weights on disk: safetensors files, checked against what they should hold before any memory is taken for them.

A safetensors file opens with a header of names, shapes and places; the library refuses one that does not fit the
file's size. Here the shapes are compared with the model's, so that a wrong file is an error with a name, never a crash.
The same when writing: what the disk refuses (full, not allowed) is an OSError with number and place.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

Shape = tuple[int, ...]

FLOATS = ("F32", "F16", "BF16")


def read_shapes(path: Path) -> dict[str, Shape]:
    """Name and shape of every tensor, from the header. Raises ValueError when it isn't a whole safetensors file."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such weights file")
    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in sorted(file.keys())}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a complete safetensors file ({error})") from error


def read_tensors(path: Path, shapes: Mapping[str, Shape]) -> dict[str, Tensor]:
    """The named tensors as float32 on the CPU.

    Raises ValueError, naming file and tensor, when one is missing, has another shape, is of whole numbers, or holds
    some that are none (NaN, infinity).
    """
    found = read_shapes(path)
    for name, shape in shapes.items():
        if name not in found:
            raise ValueError(f"{path}: tensor {name} is missing")
        if found[name] != shape:
            raise ValueError(f"{path}: tensor {name} has shape {list(found[name])}, the model needs {list(shape)}")
    with safe_open(str(path), framework="pt") as file:
        for name in shapes:
            dtype = file.get_slice(name).get_dtype()
            if dtype not in FLOATS:
                raise ValueError(f"{path}: tensor {name} is of type {dtype}, it must be one of {', '.join(FLOATS)}")
        tensors = {name: file.get_tensor(name).to(torch.float32) for name in shapes}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{path}: tensor {name} holds NaN or infinity")
    return tensors


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as float32: equal tensors, equal bytes. The metadata is what transformers looks for."""
    copies = {name: t.detach().to("cpu", torch.float32).contiguous() for name, t in tensors.items()}
    save_tensors(path, copies, metadata={"format": "pt"})


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as they are. OSError when the disk refuses: the library would raise an error of its own."""
    try:
        save_file(tensors, str(path), metadata=metadata)
    except SafetensorError as error:
        if number := re.search(r"\(os error (\d+)\)", str(error)):
            code = int(number[1])
            raise OSError(code, os.strerror(code), str(path)) from error
        raise


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ValueError when the file is missing or is something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: can't be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: holds a {type(found).__name__}, it must be a JSON object")
    return found


def write_json(path: Path, value: object) -> None:
    """One form for all JSON, so that equal content is equal bytes."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
