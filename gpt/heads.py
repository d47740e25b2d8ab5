"""Chapter 7.1: a GPT that classifies: the vocabulary's head makes room for one with a score for each class.

The text's last *real* token has seen all of it, so its vector is what the head reads. Reading the last position instead
would read padding, and the answer would change with the amount of it. Nothing is computed that is not read: the last
block, the final norm and the head work on that one position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from gpt.config import GPTConfig
from gpt.model import GPT, Transformer

Part = Literal["head", "last_block", "all"]


class Classifier(Transformer):
    """A transformer with a linear head that scores classes; `labels` are their names, in the order of the scores."""

    def __init__(self, config: GPTConfig, labels: Sequence[str], generator: torch.Generator | None = None) -> None:
        """Random weights from `generator`. Raises ValueError on fewer than two labels, or the same one twice."""
        super().__init__(config)
        if len(labels) < 2 or len(set(labels)) < len(labels):
            raise ValueError(f"the labels are {list(labels)}: a classifier takes at least two, each once")
        self.labels = tuple(labels)
        self.head = nn.Linear(config.emb_dim, len(labels))
        self.initialize(generator)

    @classmethod
    def from_gpt(cls, gpt: GPT, labels: Sequence[str], generator: torch.Generator | None = None) -> Classifier:
        """A copy of a language model's body under a new head, which is drawn from `generator`; `gpt` stays as it is."""
        with torch.device("meta"):
            classifier = cls(gpt.config, labels)
        body = {name: p.detach().clone() for name, p in gpt.state_dict().items() if not name.startswith("head.")}
        classifier.load_state_dict(body, strict=False, assign=True)
        generator = generator if generator is not None else torch.Generator().manual_seed(0)
        device = gpt.final_norm.weight.device
        weight = torch.empty(len(labels), gpt.config.emb_dim).normal_(std=0.02, generator=generator)
        classifier.head.weight = nn.Parameter(weight.to(device))
        classifier.head.bias = nn.Parameter(torch.zeros(len(labels), device=device))
        return classifier

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """tokens (B, T) int64, of which the first lengths (B,), at least 1, are real -> (B, n_classes).

        What pads the rest does not matter: no real token looks at it. What `stream` made of tokens (B, T, C) is taken
        in their place.
        """
        return self.head(self.hidden(tokens, read=lengths[:, None] - 1)[:, 0])


def select_trainable(model: Classifier, part: Part) -> int:
    """Train only this part: the head; the last block, final norm and head; or all. Returns how many numbers that is.

    Every parameter is switched on or off here, the head's too, whatever was switched before: there is no order of
    calls that leaves a new head frozen. Raises ValueError on another part.
    """
    chosen: dict[str, list[nn.Module]] = {
        "head": [model.head],
        "last_block": [model.blocks[-1], model.final_norm, model.head],
        "all": [model],
    }
    if part not in chosen:
        raise ValueError(f"trainable part {part!r}: it must be one of {', '.join(chosen)}")
    model.requires_grad_(False)
    for module in chosen[part]:
        module.requires_grad_(True)
    return n_trainable(model)


def n_trainable(model: nn.Module) -> int:
    """How many numbers training would change, a shared one counted once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
