"""Model folders in Hugging Face's GPT-2 format: config.json, model.safetensors and the tokenizer's files.

`transformers` opens our folders (`GPT2LMHeadModel.from_pretrained(folder)`, and `GPT2ForSequenceClassification` for
a classifier), and we open theirs and the public checkpoint's single file. Where our model has no q/k/v biases, zeros
are written, and config.json says `"qkv_bias": false`, a key of ours that transformers carries along.
"""

from __future__ import annotations

import re
import reprlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt.config import GPTConfig
from gpt.hf_names import body_weights
from gpt.model import GPT, Transformer
from gpt.tensor_file import Shape, read_json, read_shapes, read_tensors, write_json, write_tensors

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
LM_HEAD = "lm_head.weight"
PUBLIC_HEAD_DIM = 64  # in all four public GPT-2s; a bare weights file does not tell

# What our blocks compute, in transformers' words; a folder that says otherwise is another model.
REQUIRED: dict[str, tuple[Any, ...]] = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}


def save_gpt2(model: GPT, folder: Path, encoding_files: Path | None = None) -> None:
    """Write the language model as a GPT-2 folder, with copies of the files of the folder `encoding_files`."""
    tensors = body_tensors(model)
    if not model.config.tie_embeddings:
        tensors[LM_HEAD] = model.head.weight
    write_folder(folder, hf_config(model.config, "GPT2LMHeadModel"), tensors, encoding_files)


def load_gpt2(path: Path, dropout: float | None = None) -> GPT:
    """Open a GPT-2 folder, or a bare .safetensors file, whose shapes then tell the configuration (heads of width 64).

    dropout: for training on; None takes the folder's. Raises ValueError, naming the file and what in it is wrong.
    """
    settings = read_json(path / CONFIG) if path.is_dir() else {}
    file = path / WEIGHTS if path.is_dir() else path
    shapes = standard_shapes(file)
    config = config_from_json(settings, path / CONFIG) if path.is_dir() else config_from_shapes(shapes, file)
    config = config if dropout is None else replace(config, dropout=dropout)
    head = {} if config.tie_embeddings else {LM_HEAD: (config.vocab_size, config.emb_dim)}
    tensors = read_body(file, config, shapes, head)
    config = replace(config, qkv_bias=settings.get("qkv_bias", True) or has_qkv_bias(tensors))
    with torch.device("meta"):
        model = GPT(config)
    fill(model, tensors, {"head.weight": tensors[LM_HEAD]} if head else {})
    model.tie()
    return model


def hf_config(config: GPTConfig, architecture: str) -> dict[str, Any]:
    """What config.json says, in transformers' words. <|endoftext|> is our vocabularies' last id."""
    required = {key: allowed[0] for key, allowed in REQUIRED.items()}
    end = config.vocab_size - 1
    return required | {
        "architectures": [architecture],
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_embd": config.emb_dim,
        "n_head": config.n_heads,
        "n_layer": config.n_layers,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "tie_word_embeddings": config.tie_embeddings,
        "qkv_bias": config.qkv_bias,
        "embedding_std": config.embedding_std,
        "position_init": config.position_init,
        "bos_token_id": end,
        "eos_token_id": end,
        "dtype": "float32",
    }


def config_from_json(settings: Mapping[str, Any], path: Path) -> GPTConfig:
    """Our configuration from a config.json's content; `path` is named in errors. Missing keys have GPT-2's defaults."""
    for key, allowed in REQUIRED.items():
        if settings.get(key, allowed[0]) not in allowed:
            choices = " or ".join(map(repr, allowed))
            raise ValueError(f"{path}: {key} is {reprlib.repr(settings[key])}, this project's GPT-2 has {choices}")
    width = settings.get("n_embd", 768)
    if settings.get("n_inner") is not None and (not isinstance(width, int) or settings["n_inner"] != 4 * width):
        raise ValueError(f"{path}: n_inner is {reprlib.repr(settings['n_inner'])}, it must be four times n_embd")
    for key in ("qkv_bias", "tie_word_embeddings"):
        if not isinstance(settings.get(key, True), bool):
            raise ValueError(f"{path}: {key} is {reprlib.repr(settings[key])}, it must be true or false")
    try:
        return GPTConfig(
            vocab_size=settings.get("vocab_size", 50257),
            context_length=settings.get("n_positions", 1024),
            emb_dim=width,
            n_heads=settings.get("n_head", 12),
            n_layers=settings.get("n_layer", 12),
            dropout=settings.get("resid_pdrop", 0.1),
            qkv_bias=settings.get("qkv_bias", True),
            tie_embeddings=settings.get("tie_word_embeddings", True),
            embedding_std=settings.get("embedding_std", 0.02),
            position_init=settings.get("position_init", "normal"),
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def config_from_shapes(shapes: Mapping[str, Shape], file: Path) -> GPTConfig:
    """The configuration of a bare weights file; without dropout, which it does not tell."""
    for name in ("transformer.wte.weight", "transformer.wpe.weight"):
        if len(shapes.get(name, ())) != 2:
            raise ValueError(f"{file}: no matrix {name}, so these are not the weights of a GPT-2")
    (vocab_size, width), (context_length, _) = shapes["transformer.wte.weight"], shapes["transformer.wpe.weight"]
    if width % PUBLIC_HEAD_DIM:
        raise ValueError(
            f"{file}: width {width} is no multiple of {PUBLIC_HEAD_DIM}, so the number of heads is unknown: "
            f"open a folder with a {CONFIG}"
        )
    try:
        return GPTConfig(
            vocab_size=vocab_size,
            context_length=context_length,
            emb_dim=width,
            n_heads=width // PUBLIC_HEAD_DIM,
            n_layers=max(1, count_blocks(shapes)),
            dropout=0.0,
            qkv_bias=True,
            tie_embeddings=LM_HEAD not in shapes,
        )
    except ValueError as error:  # a matrix without rows
        raise ValueError(f"{file}: {error}") from None


def standard_shapes(file: Path) -> dict[str, Shape]:
    """The header's shapes, by full names: the public checkpoint leaves out `transformer.`, and keeps mask buffers."""
    if file.with_name(WEIGHTS + ".index.json").exists():
        raise ValueError(f"{file}: these weights are spread over several files: save them as one")
    shapes = {}
    for name, shape in read_shapes(file).items():
        full = name if name.startswith(("transformer.", "lm_head.", "score.")) else f"transformer.{name}"
        if not re.search(r"\.attn\.(masked_)?bias$", full):
            shapes[full] = shape
    return shapes


def count_blocks(shapes: Mapping[str, Shape]) -> int:
    """How many blocks the names speak of."""
    return len({name.split(".")[2] for name in shapes if name.startswith("transformer.h.")})


def read_body(
    file: Path, config: GPTConfig, shapes: Mapping[str, Shape], head: Mapping[str, Shape]
) -> dict[str, Tensor]:
    """The tensors of body and head by their full names; ValueError when the file holds less, more or another shape."""
    if count_blocks(shapes) != config.n_layers:  # first: a wrong number here must not make us list a million names
        raise ValueError(f"{file}: holds {count_blocks(shapes)} blocks, the configuration says {config.n_layers}")
    expected = {weight.theirs: weight.shape for weight in body_weights(config)} | dict(head)
    optional = {LM_HEAD} if config.tie_embeddings else set()  # a tied head may be written out; it is not read
    for name in shapes:
        if name not in expected and name not in optional:
            raise ValueError(f"{file}: tensor {name} is no part of this model")
    bare = "wte.weight" in read_shapes(file)
    names = {name: name.removeprefix("transformer.") if bare else name for name in expected}
    tensors = read_tensors(file, {names[name]: shape for name, shape in expected.items()})
    return {name: tensors[names[name]] for name in expected}


def has_qkv_bias(tensors: Mapping[str, Tensor]) -> bool:
    """Whether any q/k/v bias is other than zero: someone may have trained a folder on that began without."""
    return any(bool(t.any()) for name, t in tensors.items() if name.endswith(".attn.c_attn.bias"))


def body_tensors(model: Transformer) -> dict[str, Tensor]:
    """The body under transformers' names, its linear weights transposed, missing q/k/v biases as zeros."""
    state = model.state_dict()
    tensors = {}
    for weight in body_weights(model.config):
        ours = state.get(weight.ours)
        if ours is None:
            assert weight.ours.endswith(".qkv.bias") and not model.config.qkv_bias, f"{weight.ours} is missing"
            ours = torch.zeros(weight.shape)
        tensors[weight.theirs] = ours.t() if weight.transposed else ours
    return tensors


def fill(model: Transformer, tensors: Mapping[str, Tensor], head: Mapping[str, Tensor]) -> None:
    """Give a model made on the meta device its weights: `tensors` under transformers' names, `head` under ours."""
    state = dict(head)
    for weight in body_weights(model.config):
        theirs = tensors[weight.theirs]
        state[weight.ours] = theirs.t().contiguous() if weight.transposed else theirs
    if not model.config.qkv_bias:
        state = {name: tensor for name, tensor in state.items() if not name.endswith(".qkv.bias")}
    missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    assert not unexpected and set(missing) <= {"head.weight"}, (missing, unexpected)


def write_folder(folder: Path, config: object, tensors: Mapping[str, Tensor], encoding_files: Path | None) -> None:
    """config.json, the weights, and the tokenizer's files beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG, config)
    write_tensors(folder / WEIGHTS, tensors)
    for source in sorted(encoding_files.iterdir()) if encoding_files is not None else []:
        if source.is_file() and source.name not in (CONFIG, WEIGHTS):
            shutil.copyfile(source, folder / source.name)
