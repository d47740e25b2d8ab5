"""Adapter folders in PEFT's format: adapter_config.json and adapter_model.safetensors, without the base's weights.

PEFT wraps GPT-2's fused c_attn as one layer. Our three adapters for q, k and v are one adapter of rank 3r to it: the
A's stacked, the B's block-diagonal, alpha also tripled so that the scale stays alpha / r. PEFT trains the zero blocks,
too; such an adapter is read back as one of rank 3r. A classifier's head travels whole, as the module `score` that takes
the place of the base's. To open one with the neighbours, where BASE is the folder of the base model:

    model = GPT2ForSequenceClassification.from_pretrained(BASE, num_labels=2)
    model = PeftModel.from_pretrained(model, FOLDER)
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpt.heads import Classifier
from gpt.hf_classifier import NORM_BIAS, SCORE, read_labels, shift_for_bias
from gpt.hf_names import body_weights
from gpt.lora import LoRALinear, lora_layers
from gpt.model import GPT, Transformer
from gpt.tensor_file import Shape, read_json, read_shapes, read_tensors, write_json, write_tensors

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
LABELS = "labels.json"
PREFIX = "base_model.model."
NORM_WEIGHT = "transformer.ln_f.weight"
LARGEST_ALPHA = 1e6
# PEFT takes these names as regular expressions. One of a stranger's could be matched for ever: only names are read
PLAIN_PATTERN = re.compile(r"\^?[A-Za-z0-9_]+(\\?\.[A-Za-z0-9_]+)*\$?")
REFUSED = {"use_rslora": False, "use_dora": False, "bias": "none"}  # the only values this project's LoRA can follow


def save_adapter(model: Classifier | GPT, folder: Path, base: str) -> None:
    """Write the adapters of a model from `add_lora`; `base` names the base model's folder, for those who load it."""
    tensors: dict[str, Tensor] = {}
    sizes: dict[str, tuple[int, float]] = {}  # by the name PEFT targets: rank and alpha
    layers = lora_layers(model)
    for ours, theirs in linear_names(model):
        if ours in layers and not (ours == "head" and isinstance(model, Classifier)):
            layer = layers[ours]
            tensors[f"{theirs}.lora_A.weight"] = layer.lora_a
            tensors[f"{theirs}.lora_B.weight"] = layer.stacked_b
            parts = layer.lora_b.size(0)
            size = (parts * layer.rank, parts * layer.alpha)
            assert sizes.setdefault(theirs.split(".")[-1], size) == size, f"{ours} has another rank or alpha"
    if not sizes:
        raise ValueError("this model has no adapters to save: add_lora makes them")
    config = adapter_config(sizes, next(iter(layers.values())).dropout.p, base)
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model, Classifier):
        replaced = classifier_modules(model)
        tensors |= replaced
        config["modules_to_save"] = sorted({name.split(".")[-2] for name in replaced})
        write_json(folder / LABELS, {"id2label": {str(number): label for number, label in enumerate(model.labels)}})
    config["task_type"] = "SEQ_CLS" if isinstance(model, Classifier) else "CAUSAL_LM"
    write_json(folder / CONFIG, config)
    write_tensors(folder / WEIGHTS, {PREFIX + name: tensor for name, tensor in tensors.items()})


def load_adapter(base: GPT, folder: Path, labels: Sequence[str] | None = None) -> Classifier | GPT:
    """The base with the folder's adapters, frozen but for these: a Classifier (on a copy), or `base` itself.

    labels: a classifier's; None takes those of labels.json, which PEFT's own folders lack. Raises ValueError, naming
    the file and what in it is wrong.
    """
    config = read_json(folder / CONFIG)
    check_config(config, folder / CONFIG)
    model: Classifier | GPT = base
    if config.get("task_type") == "SEQ_CLS":
        if labels is None:
            labels = read_labels(read_json(folder / LABELS).get("id2label"), folder / LABELS)
        model = Classifier.from_gpt(base, labels)
    model.requires_grad_(False)
    file = folder / WEIGHTS
    tensors = read_tensors(file, expected_shapes(model, config, read_shapes(file), file))
    state = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    if isinstance(model, Classifier):
        put(model.head.weight, state[SCORE])
        if NORM_BIAS in state:
            put(model.final_norm.weight, state[NORM_WEIGHT])
            put(model.final_norm.bias, state[NORM_BIAS])
    for ours, theirs in linear_names(model):
        if f"{theirs}.lora_A.weight" in state:
            a, b = state[f"{theirs}.lora_A.weight"], state[f"{theirs}.lora_B.weight"]
            alpha = pattern(config, "alpha_pattern", theirs, config["lora_alpha"])
            adapt(model, ours, a, b, alpha, config.get("lora_dropout", 0.0))
    return model


def adapter_config(sizes: Mapping[str, tuple[int, float]], dropout: float, base: str) -> dict[str, Any]:
    """What adapter_config.json says: the commonest size for all, the others by pattern."""
    rank, alpha = min(sizes.values())
    return {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "target_modules": sorted(sizes),
        "rank_pattern": {name: size[0] for name, size in sorted(sizes.items()) if size[0] != rank},
        "alpha_pattern": {name: size[1] for name, size in sorted(sizes.items()) if size[1] != alpha},
        "fan_in_fan_out": True,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }


def check_config(config: Mapping[str, Any], path: Path) -> None:
    """Raises ValueError when the adapter is of a kind that this project's LoRA can't follow."""
    if config.get("peft_type") != "LORA":
        raise ValueError(f"{path}: peft_type is {reprlib.repr(config.get('peft_type'))}, it must be 'LORA'")
    for key, value in REFUSED.items():
        if config.get(key, value) != value:
            raise ValueError(f"{path}: {key} is {reprlib.repr(config[key])}, this project reads only {value!r}")
    for key in ("rank_pattern", "alpha_pattern"):
        exceptions = config.get(key) or {}
        if not isinstance(exceptions, dict) or not all(PLAIN_PATTERN.fullmatch(name) for name in exceptions):
            raise ValueError(
                f"{path}: {key} is {reprlib.repr(exceptions)}, it must map modules' names (c_attn) to numbers"
            )
    sizes = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
    alphas = [config.get("lora_alpha"), *(config.get("alpha_pattern") or {}).values()]
    if not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes):
        raise ValueError(
            f"{path}: r and rank_pattern are {reprlib.repr(sizes)}, they must be whole numbers of at least 1"
        )
    if not all(is_number(alpha) and abs(alpha) <= LARGEST_ALPHA for alpha in alphas):
        raise ValueError(
            f"{path}: lora_alpha and alpha_pattern are {reprlib.repr(alphas)}, "
            f"they must be numbers up to {LARGEST_ALPHA:g}"
        )
    dropout = config.get("lora_dropout", 0.0)
    if not (is_number(dropout) and 0 <= dropout < 1):
        raise ValueError(f"{path}: lora_dropout is {reprlib.repr(dropout)}, it must be a number from 0 to below 1")


def is_number(value: object) -> bool:
    """Whether JSON holds a number there; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def expected_shapes(
    model: Classifier | GPT, config: Mapping[str, Any], found: Mapping[str, Shape], file: Path
) -> dict[str, Shape]:
    """The tensors the file must hold: both halves of every adapter it speaks of, and a classifier's head."""
    width = model.config.emb_dim
    shapes: dict[str, Shape] = {}
    for ours, theirs in linear_names(model):
        layer = model.get_submodule(ours)
        assert isinstance(layer, nn.Linear)
        halves = f"{PREFIX}{theirs}.lora_A.weight", f"{PREFIX}{theirs}.lora_B.weight"
        if any(half in found for half in halves):
            rank = pattern(config, "rank_pattern", theirs, config["r"])
            shapes |= {halves[0]: (rank, layer.in_features), halves[1]: (layer.out_features, rank)}
    if isinstance(model, Classifier):
        shapes[PREFIX + SCORE] = (len(model.labels), width)
        if PREFIX + NORM_BIAS in found:
            shapes |= {PREFIX + NORM_WEIGHT: (width,), PREFIX + NORM_BIAS: (width,)}
    for name in found:
        frozen_copy = name.endswith(".base_layer.weight")  # PEFT adds the weight of an lm_head it adapts
        if name not in shapes and not frozen_copy:
            raise ValueError(f"{file}: tensor {name} is no adapter of this model")
    return shapes


def pattern(config: Mapping[str, Any], patterns: str, module: str, otherwise: Any) -> Any:
    """PEFT's rule for exceptions: the first pattern that fits the end of the module's name, from a dot on."""
    for end, value in dict(config.get(patterns) or {}).items():
        if re.fullmatch(rf"(.*\.)?({end})", module):
            return value
    return otherwise


def linear_names(model: Transformer) -> Iterator[tuple[str, str]]:
    """Every linear layer: our name and theirs."""
    for weight in body_weights(model.config):
        if weight.transposed:
            yield weight.ours.removesuffix(".weight"), weight.theirs.removesuffix(".weight")
    yield "head", "score" if isinstance(model, Classifier) else "lm_head"


@torch.no_grad()
def classifier_modules(model: Classifier) -> dict[str, Tensor]:
    """The head, its adapter merged in; and the final norm where it must carry a bias that PEFT's head lacks."""
    head: nn.Module = model.head
    linear = head.base if isinstance(head, LoRALinear) else model.head
    weight, bias = linear.weight, linear.bias
    if isinstance(head, LoRALinear):
        weight = weight + head.delta
    if not bias.any():
        return {SCORE: weight}
    shift = shift_for_bias(weight, bias)
    if shift is None:
        raise ValueError(f"PEFT's head has no bias, and the final norm can't hold one for {len(model.labels)} classes")
    return {SCORE: weight, NORM_WEIGHT: model.final_norm.weight, NORM_BIAS: model.final_norm.bias + shift}


@torch.no_grad()
def adapt(model: Transformer, name: str, a: Tensor, b: Tensor, alpha: float, dropout: float) -> None:
    """Put a trained adapter on one layer: q, k and v's three where B is block-diagonal, else one."""
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    parts = 3 if name.endswith(".qkv") and is_block_diagonal(b, 3) else 1
    rank = a.size(0) // parts
    adapted = LoRALinear(layer, rank, alpha / parts, dropout, parts, torch.Generator())
    put(adapted.lora_a, a)
    blocks = zip(b.chunk(parts, dim=0), range(parts), strict=True)
    put(adapted.lora_b, torch.stack([rows[:, part * rank : (part + 1) * rank] for rows, part in blocks]))
    model.set_submodule(name, adapted)


def is_block_diagonal(b: Tensor, parts: int) -> bool:
    """Whether b (out, parts · rank) is zero outside its diagonal blocks."""
    if b.size(1) % parts:
        return False
    ones = b.new_ones(b.size(0) // parts, b.size(1) // parts)
    return not b.masked_fill(torch.block_diag(*[ones] * parts).bool(), 0.0).any()


@torch.no_grad()
def put(parameter: Tensor, values: Tensor) -> None:
    """Overwrite a parameter's numbers, where it is."""
    parameter.copy_(values)
