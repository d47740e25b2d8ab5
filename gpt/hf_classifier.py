"""A classifier's folder: `GPT2ForSequenceClassification.from_pretrained(folder)` gives the same scores as ours.

transformers' head, `score`, has no bias, and ours has. Any shift of the scores that the head's matrix can produce can
come from the final norm's bias instead, which nothing else reads: score(y + d) = score(y) + bias when W·d = bias. So
the folder's final norm carries d, the smallest one, and its head no bias. (More classes than the model is wide leave no
such d: only then is `score.bias` written beside, for us to read, and transformers says that it does not know it.)

Rows are padded with <|endoftext|>, which config.json names as `pad_token_id`: transformers reads the last token that
is another one.
"""

from __future__ import annotations

import reprlib
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gpt.heads import Classifier
from gpt.hf_format import (
    CONFIG,
    WEIGHTS,
    body_tensors,
    config_from_json,
    fill,
    has_qkv_bias,
    hf_config,
    read_body,
    standard_shapes,
    write_folder,
)
from gpt.tensor_file import Shape, read_json

SCORE = "score.weight"
SCORE_BIAS = "score.bias"
NORM_BIAS = "transformer.ln_f.bias"


def save_classifier(model: Classifier, folder: Path, encoding_files: Path | None = None) -> None:
    """Write the classifier as a GPT-2 folder, with copies of the files of the folder `encoding_files`."""
    tensors = body_tensors(model) | {SCORE: model.head.weight}
    shift = shift_for_bias(model.head.weight, model.head.bias)
    if shift is not None:
        tensors[NORM_BIAS] = tensors[NORM_BIAS] + shift
    else:
        tensors[SCORE_BIAS] = model.head.bias
    config = hf_config(model.config, "GPT2ForSequenceClassification") | {
        "num_labels": len(model.labels),
        "id2label": {str(number): label for number, label in enumerate(model.labels)},
        "label2id": {label: number for number, label in enumerate(model.labels)},
        "pad_token_id": model.config.vocab_size - 1,
    }
    write_folder(folder, config, tensors, encoding_files)


def load_classifier(folder: Path, dropout: float | None = None) -> Classifier:
    """Open a classifier's folder, ours or one that transformers wrote.

    Its head's bias may be in the final norm (see above): scores are what was saved, to rounding. Raises ValueError,
    naming the file and what in it is wrong.
    """
    settings = read_json(folder / CONFIG)
    labels = read_labels(settings.get("id2label"), folder / CONFIG)
    config = config_from_json(settings, folder / CONFIG)
    config = config if dropout is None else replace(config, dropout=dropout)
    shapes = standard_shapes(folder / WEIGHTS)
    head: dict[str, Shape] = {SCORE: (len(labels), config.emb_dim)}
    if SCORE_BIAS in shapes:
        head[SCORE_BIAS] = (len(labels),)
    tensors = read_body(folder / WEIGHTS, config, shapes, head)
    config = replace(config, qkv_bias=config.qkv_bias or has_qkv_bias(tensors))
    with torch.device("meta"):
        model = Classifier(config, labels)
    bias = tensors.get(SCORE_BIAS, torch.zeros(len(labels)))
    fill(model, tensors, {"head.weight": tensors[SCORE], "head.bias": bias})
    return model


def read_labels(id2label: object, path: Path) -> list[str]:
    """The labels in the order of their numbers: two at least, each once, in characters that can be written."""
    if isinstance(id2label, dict) and set(id2label) == {str(number) for number in range(len(id2label))}:
        labels = [id2label[str(number)] for number in range(len(id2label))]
        words = all(isinstance(label, str) and label == label.encode(errors="ignore").decode() for label in labels)
        if words and len(labels) >= 2 and len(set(labels)) == len(labels):
            return labels
    raise ValueError(
        f"{path}: id2label is {reprlib.repr(id2label)}, it must name the labels 0, 1, … in words, each once"
    )


@torch.no_grad()
def shift_for_bias(weight: Tensor, bias: Tensor) -> Tensor | None:
    """The smallest d (C,) with weight · d = bias, for weight (n_classes, C); None when there is none."""
    wide, target = weight.double(), bias.double()
    shift = torch.linalg.pinv(wide) @ target
    return shift.float() if torch.allclose(wide @ shift, target, rtol=1e-9, atol=1e-12) else None
