"""The gate: may a challenger take the champion's place? Numbers in, a decision with its reasons out.

It may when every guard holds and it is better than the champion on the same validation items by more than noise
(`tasks/noise.py`). Without a champion the guards alone decide. Test items are never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.fingerprint import lookup
from pipeline.schema import Params, Promote
from tasks import noise
from tasks.noise import Difference

METRICS = {"base": "nats per byte", "classifier": "accuracy", "assistant": "exact match"}
LEAKS = {"classifier": "messages", "assistant": "instructions"}
Scores = Sequence[Mapping[str, float]]  # an item each: {"correct": 0 | 1}, or {"nats", "bytes"} of a text


@dataclass(frozen=True)
class Guard:
    """A condition, whether it holds, and the numbers in words."""

    what: str
    holds: bool

    def __str__(self) -> str:
        return f"{self.what}: {'holds' if self.holds else 'does not hold'}"


@dataclass(frozen=True)
class Decision:
    """`promoted`, and why in one sentence; the guards and, with a champion, the difference behind it."""

    promoted: bool
    why: str
    guards: tuple[Guard, ...] = ()
    difference: Difference | None = None


def decide(
    kind: str, guards: Sequence[Guard], challenger: Scores, champion: Scores | None, settings: Promote, seed: int
) -> Decision:
    """Guards first: a model that breaks one is not promoted, however good it is. `champion` None: there is none."""
    broken = [guard.what for guard in guards if not guard.holds]
    found = None if champion is None else compared(kind, champion, challenger, settings, seed)
    if broken:
        return Decision(False, f"a guard does not hold: {'; '.join(broken)}", tuple(guards), found)
    if found is None:
        return Decision(True, "the first version, and every guard holds", tuple(guards))
    return Decision(found.verdict == noise.BETTER, in_words(kind, found), tuple(guards), found)


def compared(kind: str, champion: Scores, challenger: Scores, settings: Promote, seed: int) -> Difference:
    """The challenger beside the champion, item by item. ValueError when they were not scored on the same items."""
    if len(champion) != len(challenger):
        raise ValueError(f"the champion has {len(champion)} scored items, the challenger {len(challenger)}")
    options: dict[str, Any] = {"seed": seed, "resamples": settings.resamples, "confidence": settings.confidence}
    if kind == "base":
        lengths = [row["bytes"] for row in champion]
        if lengths != [row["bytes"] for row in challenger]:
            raise ValueError("champion and challenger were scored on different texts")
        first, second = ([row["nats"] for row in scores] for scores in (champion, challenger))
        return noise.loss(first, second, lengths, **options)
    first, second = ([row["correct"] for row in scores] for scores in (champion, challenger))
    return noise.binary(first, second, **options)


def in_words(kind: str, found: Difference) -> str:
    """ "accuracy 0.98 → 1, difference 0.02 (95 %: 0.0075 to 0.035, p 0.0078) over 400 items: better"."""
    said = {
        noise.BETTER: "better than the champion by more than noise",
        noise.WORSE: "worse than the champion",
        noise.NOISE: "no better than the champion by more than noise",
    }
    share = f"{found.confidence:.0%}".replace("%", " %")
    return (
        f"validation {METRICS[kind]} {found.first:.4g} → {found.second:.4g}, difference {found.difference:+.3g} "
        f"({share}: {found.low:+.3g} to {found.high:+.3g}, p {found.p:.2g}) over {found.items} items: "
        f"{said[found.verdict]}"
    )


def guards_of(name: str, kind: str, metrics: Mapping[str, Any], params: Params) -> list[Guard]:
    """The conditions on a model, from reports/evaluate/metrics.json; `name` without its prefix."""
    settings = params.promote
    if kind == "base":
        share = lookup(metrics, "language.pretrained.validation.loss") / metrics["uniform_loss"]
        most = settings.max_loss_share
        return [Guard(f"validation loss over that of guessing {share:.3g}, at most {most:g}", share <= most)]
    found = [
        _overlap(part, counts, settings.max_overlap)
        for part, counts in lookup(metrics, f"leakage.{LEAKS[kind]}").items()
    ]
    if kind == "classifier":
        variant = "lora" if name == "classifier-lora" else settings.classifier
        value, least = lookup(metrics, f"classify.{variant}.validation.accuracy"), settings.min_accuracy
    else:
        value = lookup(metrics, f"instruct.{settings.assistant}.validation.exact_match")
        least = settings.min_exact_match
    return [*found, Guard(f"validation {METRICS[kind]} {value:.4g}, at least {least:g}", value >= least)]


def _overlap(part: str, counts: Mapping[str, int], most: float) -> Guard:
    share = counts["copies_of_training"] / max(1, counts["items"])
    return Guard(f"{share:.2%} of the {part} items are copies of training items, at most {most:.2%}", share <= most)
