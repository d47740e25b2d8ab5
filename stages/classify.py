"""Chapter 6: the GPT as a classifier, from the pre-trained base and, to show what that is worth, from random weights.

python -m stages.classify
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from gpt.heads import Classifier, select_trainable
from gpt.hf_classifier import save_classifier
from gpt.launch import launch
from gpt.seeds import generator
from gpt.settings import write_settings
from gpt.tokenizer_files import load_encoding
from gpt.train import TrainResult
from pipeline.stage import Stage, run
from stages.bundles import log_classifier
from stages.classifying import (
    MESSAGES,
    held_out_scores,
    predictions,
    read_messages,
    train_classifier,
)
from stages.lines import write_lines
from stages.models import shares, starting_model
from stages.training import kept_row, write_curves

TOKENIZER = Path("data/tokenizer")


def main(stage: Stage) -> None:
    params, seed = stage.params.classify, stage.params.seed
    encoding = load_encoding(TOKENIZER)
    results: dict[str, TrainResult] = {}
    items: list[dict[str, Any]] = []
    metrics: dict[str, Any] = {}
    for variant in params.variants:
        body = starting_model(variant, seed)
        data = read_messages(encoding, params.max_length, body.config.context_length)
        model = Classifier.from_gpt(body, data.labels, generator(seed, "head"))
        select_trainable(model, "all" if variant == "full" else params.trainable)
        result = train_classifier(stage, model, params, data, variant)
        if not stage.first:
            continue
        found = predictions(stage, model, data, params.batch_size, variant)
        folder = stage.out("models/classifier") / variant
        save_classifier(model, folder, TOKENIZER)
        write_settings(folder, {"max_length": data.max_length})
        log_classifier(stage, folder, TOKENIZER, f"classifier-{variant}")
        results[variant] = result
        items += found
        metrics[variant] = {
            "validation_loss": kept_row(result, params.keep)["validation_loss"],
            **held_out_scores(found),
            **shares(model),
        }
    write_lines(stage.out("reports/classify/predictions.jsonl"), items)
    write_curves(stage, results)
    stage.log_artifact(stage.out("reports/classify/predictions.jsonl"))
    stage.log_dataset("messages", MESSAGES, "train")
    stage.write_metrics(metrics)


if __name__ == "__main__":
    sys.exit(run("classify", main, launch))
