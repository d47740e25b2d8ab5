"""The report a person reads: Markdown tables and sentences from the numbers of `evaluate`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from stages.findings import ASSISTANTS, LANGUAGE, Findings


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table of plain cells."""
    lines = [columns, ["---"] * len(columns), *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def plain(value: Any) -> str:
    """Text that Markdown shows as it is: on one line, nothing in it works as markup or can't be printed."""
    text = re.sub(r"([\\`*_\[\]<>|~$])", r"\\\1", str(value).replace("\n", " ⏎ "))
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def interval(scores: Mapping[str, float], name: str) -> str:
    return f"{percent(scores[name])} ({percent(scores[f'{name}_low'])} – {percent(scores[f'{name}_high'])})"


def glance_section(found: Findings) -> str:
    """The answer in a few lines, each beside what it has to be compared with."""
    language, classify, instruct = (found.metrics[name] for name in ("language", "classify", "instruct"))
    text = language["pretrained"]["validation"]
    beside = [f"untrained {language['random']['validation']['loss']:.3f}"]
    if "floor" in text:
        beside.append(f"entropy floor {text['floor']:.3f}")
    loss = f"{text['loss']:.3f} nats" + (f", {above(text)} above the floor" if "over_floor" in text else "")
    rows = [["language: validation loss per token", loss, "; ".join(beside)]]
    own = next(name for name in ("pretrained", "full", "lora", "random") if name in classify)
    others = [
        f"{found.classifier(name)} {percent(classify[name]['test']['accuracy'])}" for name in classify if name != own
    ]
    rows.append(["messages: test accuracy", percent(classify[own]["test"]["accuracy"]), "; ".join(others)])
    for part in found.asked:
        what = {"test": "test", "combinations": "new combinations"}[part]
        other = f"without pre-training {percent(instruct['random'][part]['exact_match'])}" if found.baseline else "–"
        score = percent(instruct[found.assistant][part]["exact_match"])
        rows.append([f"instructions: exact match, {what}", score, other])
    return (
        "# What came out\n\nTest data are reported here, never chosen on: every choice was made on validation data.\n\n"
        + table(["", "the model", "beside it"], rows)
    )


def above(scores: Mapping[str, float]) -> str:
    share = 100 * (scores["over_floor"] - 1)
    return f"{share:.1f} %" if share < 100 else f"{share:,.0f} %"


def language_section(found: Findings) -> str:
    metrics = found.metrics
    known = any("floor" in scores for scores in metrics["language"]["pretrained"].values())
    rows = []
    for name, parts in metrics["language"].items():
        for part, scores in parts.items():
            floor = [f"{scores['floor']:.3f}" if "floor" in scores else "–"]
            floor.append(above(scores) if "over_floor" in scores else "–")
            numbers = [f"{scores['loss']:.3f}", f"{scores['perplexity']:,.2f}", f"{scores['tokens']:,}"]
            rows.append([LANGUAGE[name], part, *numbers, *(floor if known else [])])
    head = ["model", "part", "loss (nats per token)", "perplexity", "tokens scored"]
    return (
        "## The language model\n\n"
        + table(head + (["entropy floor", "loss above it"] if known else []), rows)
        + f"\nAn even guess among {metrics['vocab_size']:,} tokens loses {metrics['uniform_loss']:.3f} nats."
        + " Of a long training part, some rows are scored, spread over all of it.\n\n"
        + (floor_text(metrics["language"]["pretrained"]) if known else "")
        + "![loss over the steps](plots/pretraining.png)\n\n"
        + written_text(found.samples)
    )


def floor_text(parts: Mapping[str, Mapping[str, float]]) -> str:
    """What exactly the floor is, and what it bounds."""
    held_out = [scores for part, scores in parts.items() if part != "train"]
    scores = held_out[0]
    said = (
        "**The floor.** The grammar that wrote this text knows the probability P of each document, and no document "
        "comes about in two ways. The floor is the mean of −ln P over a part's documents, in nats, divided by the same "
        "tokens that the loss counts, each document's end token among them. On fresh documents no model's expected "
        "loss is below the expected floor, however large the model is (Gibbs' inequality). "
    )
    if any("over_floor" in scores for scores in held_out):
        said += (
            "Where a ratio is given, both are scored with each document's whole context, from its beginning, and no "
            "document is cut. For these documents the floor is exact; as a bound it leaves out only what no model "
            "learns to use: that exact duplicates were dropped, and that a digest of its text chose a document's part. "
        )
    if not all("over_floor" in scores for scores in held_out):
        said += (
            "Where none is given, the model did not read every document whole, from its beginning to its end "
            "(`sample.rows`, `model.context_length`), which keeps it from the floor. "
        )
    if "floor_error" in scores:
        said += (
            f"The {scores['documents']:,} documents of the first held-out part are a sample: chance moves its floor by "
            f"{scores['floor_error']:.4f} nats (one standard error, {percent(scores['floor_error'] / scores['floor'])} "
            "of it), and the loss of a good model moves along, since both are over the same documents. "
        )
    return said + "Training documents a model may know by heart: there its loss may be below the floor.\n\n"


def written_text(samples: Sequence[Mapping[str, Any]]) -> str:
    """The same beginning continued at the first, the middle and the last evaluation."""
    if not samples:
        return ""
    chosen = sorted({0, len(samples) // 2, len(samples) - 1})
    rows = [[f"{samples[number]['step']:,}", samples[number]["text"]] for number in chosen]
    return "### What it wrote while it learned\n\n" + table(["after step", "the prompt and how it goes on"], rows)


def classifier_section(found: Findings, items: int) -> str:
    rows = []
    for name, parts in found.metrics["classify"].items():
        test = parts["test"]
        scores = [interval(test, "accuracy"), f"{test['macro_f1']:.3f}", f"{parts['validation']['loss']:.3f}"]
        rows.append([found.classifier(name), *scores, *trained(found.costs.get(name))])
    head = [
        "classifier",
        "test accuracy (95 % interval)",
        "test macro F1",
        "validation loss",
        "trained parameters",
        "share",
    ]
    return (
        "## Classifying messages\n\n"
        + table(head, rows)
        + "\n![test accuracy](plots/accuracy.png)\n\n![confusion matrices](plots/confusion.png)\n\n"
        + lora_text(found)
        + (hardest_text(found, items // 2) if items > 1 else "")
    )


def trained(cost: Mapping[str, Any] | None) -> list[str]:
    """How many parameters, and which share of all."""
    return [f"{cost['trainable_parameters']:,}", percent(cost["trainable_share"])] if cost else ["–", "–"]


def lora_text(found: Findings) -> str:
    """LoRA and full tuning side by side, with what separates them message by message."""
    classify, difference = found.metrics["classify"], found.metrics["lora_beside_full"]
    rows = [
        [found.classifier(name), *trained(found.costs[name]), percent(classify[name]["validation"]["accuracy"]),
         interval(classify[name]["test"], "accuracy")]
        for name in ("lora", "pretrained", "full") if name in classify
    ]  # fmt: skip
    said = ""
    if difference:
        low, high = (points(difference[f"accuracy_difference_{end}"]) for end in ("low", "high"))
        fewer = found.costs["full"]["trainable_parameters"] / found.costs["lora"]["trainable_parameters"]
        said = (
            f"\nLoRA trains {fewer:,.0f} times fewer parameters. On the test part its accuracy minus full tuning's is "
            f"{points(difference['accuracy_difference'])} points (95 % interval {low} to {high}, message by message).\n"
        )
    head = ["tuned", "trained parameters", "share", "validation accuracy", "test accuracy (95 % interval)"]
    return "### LoRA beside full tuning\n\n" + table(head, rows) + said + "\n![quality by share](plots/lora.png)\n\n"


def points(value: float) -> str:
    """A difference of shares in percentage points, signed; no minus before a zero."""
    return f"{100 * value:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0").replace("-", "−")


def hardest_text(found: Findings, items: int) -> str:
    wrong = found.messages[(found.messages["part"] == "test") & ~found.messages["correct"]]
    hardest = wrong.groupby(["index", "text", "expected"])["variant"].agg(["count", list]).reset_index()
    hardest = hardest.sort_values(["count", "index"], ascending=[False, True]).head(items)
    rows = [[row.text, row.expected, "; ".join(map(found.classifier, row.list))] for row in hardest.itertuples()]
    return "### Messages that most classifiers get wrong\n\n" + table(["message", "is", "wrong by"], rows)


def instruction_section(found: Findings, items: int) -> str:
    rows = []
    for part in found.asked:
        for name, parts in found.metrics["instruct"].items():
            scores = [interval(parts[part], score) for score in ("exact_match", "token_overlap")]
            count = parts[part]["kinds"]["all"]["count"]
            rows.append([part, ASSISTANTS[name], count, *scores, f"{parts['validation_loss']:.3f}"])
    head = ["part", "assistant", "items", "exact match (95 % interval)", "token overlap", "validation loss"]
    anew = (
        "\n*Combinations* are test items that put together what training never does: a kind of task and a word that it "
        "met in other kinds only.\n"
    )
    return (
        "## Following instructions\n\n"
        + table(head, rows)
        + (anew if "combinations" in found.asked else "")
        + "\n*Exact match* forgives case, white space and punctuation at the ends; *token overlap* is the words' F1.\n"
        + "\n![scores per kind of task](plots/kinds.png)\n\n### Per kind of task\n\n"
        + kinds_table(found)
        + "".join(examples_text(found, part, items) for part in found.asked if items)
    )


def kinds_table(found: Findings) -> str:
    """A row a kind, and for each part the items and every variant's exact match; last the test's token overlap."""
    variants = [name for name in ASSISTANTS if name in found.metrics["instruct"]]
    wide = found.kinds.pivot(
        index="kind", columns=["part", "variant"], values=["items", "exact_match", "token_overlap"]
    )
    kinds = ["all", *wide.index.drop("all")]
    head, columns = ["kind of task"], [[kind if kind != "all" else "all kinds" for kind in kinds]]
    for part in found.asked:
        head.append(f"{part}: items")
        columns.append([count(value) for value in wide.loc[kinds, ("items", part, found.assistant)]])
        for name in variants:
            head.append("exact match" if name == found.assistant else "from random weights")
            columns.append([share(value) for value in wide.loc[kinds, ("exact_match", part, name)]])
    head.append("test: token overlap")
    columns.append([share(value) for value in wide.loc[kinds, ("token_overlap", "test", found.assistant)]])
    return table(head, zip(*columns, strict=True))


def count(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.0f}"


def share(value: float) -> str:
    return "–" if pd.isna(value) else percent(value)


def examples_text(found: Findings, part: str, items: int) -> str:
    """The first right and the first wrong answers of a part, half and half, beside what the baseline said."""
    rows = found.answers[found.answers["part"] == part]
    own = rows[rows["variant"] == found.assistant].set_index("index")
    others = rows[rows["variant"] == found.baseline].set_index("index")["answer"]
    right, wrong = own[own["exact_match"] == 1], own[own["exact_match"] != 1]
    most = max(items // 2, items - len(right), 0)
    wrong = wrong.head(most)
    shown = pd.concat([right.head(items - len(wrong)), wrong])
    lines = [
        [
            "✓" if row.exact_match == 1 else "✗",
            row.kind,
            f"{row.instruction} {row.input}".strip(),
            row.reference,
            row.answer,
        ]
        + ([others[row.Index]] if found.baseline else [])
        for row in shown.itertuples()
    ]
    head = [
        "",
        "kind",
        "instruction",
        "right answer",
        "its answer",
        *(["without pre-training"] if found.baseline else []),
    ]
    return (
        f"\n### Examples: {part}\n\nThe first right and the first wrong answers; how many are right stands above.\n\n"
        + table(head, lines)
    )


def leakage_section(leakage: Mapping[str, Any]) -> str:
    rows = [
        [data, part, scores["items"], scores["copies_of_training"]]
        for data, parts in leakage.items()
        for part, scores in parts.items()
    ]
    return "## Held out\n\n" + table(["data", "part", "items", "exact copies of training items"], rows)


def write_report(found: Findings, items: int) -> str:
    """All of it; `items` examples in each table of them."""
    sections = [
        glance_section(found),
        language_section(found),
        classifier_section(found, items),
        instruction_section(found, items),
        "## Fine-tuning\n\n![validation loss of every fine-tuning](plots/finetuning.png)\n",
        leakage_section(found.metrics["leakage"]),
    ]
    return "\n".join(sections)
