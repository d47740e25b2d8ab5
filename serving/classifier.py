"""A trained classifier as people use it: texts in, labels and probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tiktoken

from gpt.evaluate import classifier_probabilities
from gpt.heads import Classifier
from gpt.hf_format import load_classifier, load_gpt2
from gpt.lora import merge_lora
from gpt.peft_format import load_adapter
from gpt.runtime import Runtime, choose_runtime
from gpt.settings import read_settings
from gpt.tokenizer import load_encoding


class TextClassifier:
    def __init__(self, model: Classifier, encoding: tiktoken.Encoding, labels: Sequence[str], max_length: int):
        self.model, self.encoding = model.eval(), encoding
        self.labels, self.max_length = list(labels), max_length
        self.runtime: Runtime = choose_runtime("auto", "float32", "off", threads=None, total_steps=0, n_parameters=0)

    @classmethod
    def load(cls, model: Path, tokenizer: Path, base: Path | None = None) -> TextClassifier:
        """From a classifier's folder, or from an adapter's folder and the base model's."""
        labels, max_length = read_settings(model, "labels", "max_length")
        if base is None:
            classifier = load_classifier(model)
        else:
            classifier = load_adapter(load_gpt2(base), model)
            merge_lora(classifier)
        return cls(classifier, load_encoding(tokenizer), labels, max_length)

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """(N, n_classes) of each text; an empty text is read as one end-of-text token."""
        rows = [self.encoding.encode_ordinary(text)[: self.max_length] or [self.encoding.eot_token] for text in texts]
        return classifier_probabilities(self.model, rows, batch_size=32, runtime=self.runtime)

    def classify(self, texts: Sequence[str]) -> list[str]:
        return [self.labels[best] for best in self.probabilities(texts).argmax(axis=1)]
