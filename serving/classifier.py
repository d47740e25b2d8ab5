"""A trained classifier as people use it: texts in, labels and probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tiktoken
import torch

from gpt.evaluate import classifier_probabilities
from gpt.heads import Classifier
from gpt.hf_classifier import load_classifier
from gpt.hf_format import load_gpt2
from gpt.lora import merge_lora
from gpt.peft_format import load_adapter
from gpt.runtime import Runtime, choose_runtime
from gpt.settings import read_settings
from gpt.tokenizer_files import load_encoding


class TextClassifier:
    def __init__(self, model: Classifier, encoding: tiktoken.Encoding, max_length: int):
        self.model, self.encoding = model.eval(), encoding
        self.labels, self.max_length = list(model.labels), max_length
        self.runtime: Runtime = choose_runtime("cpu", "float32", "off", torch.get_num_threads(), 0, model.n_parameters)

    @classmethod
    def load(cls, model: Path, tokenizer: Path, base: Path | None = None) -> TextClassifier:
        """From a classifier's folder, or from an adapter's folder and the base model's."""
        (max_length,) = read_settings(model, "max_length")
        if base is None:
            classifier = load_classifier(model)
        else:
            adapted = load_adapter(load_gpt2(base), model)
            if not isinstance(adapted, Classifier):
                raise ValueError(f"{model} holds a language model's adapters: a classifier's are needed")
            merge_lora(adapted)
            classifier = adapted
        return cls(classifier, load_encoding(tokenizer), max_length)

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """(N, n_classes) of each text; an empty text is read as one end-of-text token."""
        if not texts:
            return np.empty((0, len(self.labels)), np.float32)
        rows = [self.encoding.encode_ordinary(text)[: self.max_length] or [self.encoding.eot_token] for text in texts]
        return classifier_probabilities(self.model, rows, self.encoding.eot_token, min(32, len(rows)), self.runtime)

    def classify(self, texts: Sequence[str]) -> list[str]:
        return [self.labels[best] for best in self.probabilities(texts).argmax(axis=1)]
