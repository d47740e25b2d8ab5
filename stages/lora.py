"""Appendix E: the classifier trained through low-rank adapters on the frozen base (Hu et al., 2021, arXiv:2106.09685).

python -m stages.lora
"""

from __future__ import annotations

import sys
from pathlib import Path

from gpt.heads import Classifier
from gpt.launch import launch
from gpt.lora import add_lora, merge_lora
from gpt.peft_format import save_adapter
from gpt.seeds import generator
from gpt.settings import write_settings
from gpt.tokenizer_files import load_encoding
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
from stages.models import BASE, shares, starting_model
from stages.training import kept_row, write_curves

TOKENIZER = Path("data/tokenizer")


def main(stage: Stage) -> None:
    params, seed = stage.params.lora, stage.params.seed
    encoding = load_encoding(TOKENIZER)
    body = starting_model("pretrained", seed)
    data = read_messages(encoding, params.max_length, body.config.context_length)
    model = Classifier.from_gpt(body, data.labels, generator(seed, "head"))
    size = model.n_parameters
    add_lora(model, params.rank, params.alpha, params.dropout, generator(seed, "adapters"))
    share = shares(model, size)
    result = train_classifier(stage, model, params, data, "")
    if not stage.first:
        return

    folder = stage.out("models/lora")
    save_adapter(model, folder, str(BASE))
    write_settings(folder, {"max_length": data.max_length})
    log_classifier(stage, folder, TOKENIZER, "classifier-lora", BASE)
    merge_lora(model)
    items = predictions(stage, model, data, params.batch_size, "lora")
    write_lines(stage.out("reports/lora/predictions.jsonl"), items)
    write_curves(stage, {"lora": result})
    stage.log_artifact(stage.out("reports/lora/predictions.jsonl"))
    stage.log_dataset("messages", MESSAGES, "train")
    stage.write_metrics(
        {"validation_loss": kept_row(result, params.keep)["validation_loss"], **held_out_scores(items), **share}
    )


if __name__ == "__main__":
    sys.exit(run("lora", main, launch))
