"""What a comparison says, on results held in memory: pairing, verdicts, differences, and the page made of them."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from tasks import curves, paired
from tasks.comparison import ABSENT, compare
from tasks.comparison_page import cell, folder_name, render, write_page
from tasks.live_answers import LiveAnswer
from tasks.noise import BETTER, NOISE, WORSE
from tests.tasks.results import instructions, losses, messages, result

ROOT = Path(__file__).resolve().parents[2]
MESSAGES, EVALUATED = "reports/classify/predictions.jsonl", "reports/evaluate/predictions.jsonl"
GOOD, BAD = [True] * 60, [True] * 40 + [False] * 20


def verdict(found, task: str, part: str = "validation", variant: str = "pretrained"):
    return next(v for v in found.verdicts if (v.task, v.part, v.variant) == (task, part, variant))


def test_items_are_paired_by_what_was_asked_not_by_their_number():
    rows = messages("pretrained", GOOD)
    shuffled = [row | {"index": n} for n, row in enumerate(random.Random(1).sample(rows, len(rows)))]
    shuffled[7] = shuffled[7] | {"text": "asked of B only"}
    shuffled[9] = shuffled[9] | {"expected": "other"}
    found = compare(ROOT, [result("a", {MESSAGES: rows}), result("b", {MESSAGES: shuffled})])
    said = verdict(found, "classify")
    assert (said.counts, said.difference.items, said.all_paired) == ((60, 60), 58, False)
    assert said.difference.verdict == NOISE
    assert "58 of 60 and 60" in render(found, "md")
    assert "Not all items are the same in both" in render(found, "html")


def test_the_same_text_twice_is_two_items():
    rows = [row | {"text": "again", "expected": "ham"} for row in messages("pretrained", GOOD)]
    found = compare(ROOT, [result("a", {MESSAGES: rows}), result("b", {MESSAGES: rows[:50]})])
    assert verdict(found, "classify").difference.items == 50


def test_verdicts_name_the_other_and_validation_comes_first():
    a = {MESSAGES: messages("pretrained", BAD), EVALUATED: instructions(GOOD, "test") + instructions(GOOD)}
    b = {MESSAGES: messages("pretrained", GOOD), EVALUATED: instructions(BAD, "test") + instructions(GOOD)}
    found = compare(ROOT, [result("a", a), result("b", b), result("c", a)])
    assert [v.decides for v in found.verdicts] == sorted([v.decides for v in found.verdicts], reverse=True)
    given = {(v.other, v.task, v.part): v.difference.verdict for v in found.verdicts}
    assert given[1, "classify", "validation"] == BETTER
    assert given[1, "instruct", "test"] == WORSE
    assert given[1, "instruct", "validation"] == given[2, "classify", "validation"] == NOISE
    text = render(found, "md")
    assert "B beside A, on the validation part: **better**: messages, pre-trained base" in text
    assert "C beside A, on the validation part: **the same**" in text
    assert "| test (reported) |" in text


def test_losses_are_compared_by_document_where_the_token_files_agree():
    nats, tokens = [10.0 + n % 7 for n in range(80)], [20 + n % 5 for n in range(80)]
    first = result("a", {paired.LOSSES: losses(nats, tokens)})
    lower = result("b", {paired.LOSSES: losses([value - 0.5 for value in nats], tokens)})
    said = verdict(compare(ROOT, [first, lower]), "language")
    assert (said.difference.verdict, said.measure) == (BETTER, "nats per token")
    assert said.difference.difference == pytest.approx(-0.5 * 80 / sum(tokens))
    pieces = losses([value / 2 for value in nats], [10] * 80)
    whole = {paired.LOSSES: pieces + pieces.split("\n", 1)[1]}  # each document in two
    said = verdict(compare(ROOT, [result("a", whole), result("b", whole)]), "language")
    assert (said.difference.items, said.difference.first) == (80, pytest.approx(sum(nats) / 1600))
    longer = result("c", {paired.LOSSES: losses(nats, [n + 1 for n in tokens])})
    assert verdict(compare(ROOT, [first, longer]), "language").difference is None
    other = result("c", {paired.LOSSES: losses(nats, tokens)}, tokens="f" * 32)
    said = verdict(compare(ROOT, [first, other]), "language")
    assert said.difference is None and "cannot be paired" in said.why
    assert "cannot be paired" in render(compare(ROOT, [first, other]), "html")


def test_what_was_not_stored_is_said():
    found = compare(ROOT, [result("old"), result("new", {MESSAGES: messages("pretrained", GOOD)})])
    assert "losses by document: not recorded by old, new" in found.missing
    assert "messages: not recorded by old" in found.missing
    assert not found.verdicts
    assert "nothing can be said" in render(found, "html")


def test_a_lora_run_beside_a_classifiers():
    stages = ("tokenize", "sample", "pretrain")
    lora = result(
        "l", {"reports/lora/predictions.jsonl": messages("lora", GOOD)}, stages=(*stages, "lora"), stage="lora"
    )
    rows = messages("pretrained", BAD) + messages("full", GOOD)
    other = result("c", {MESSAGES: rows}, stages=(*stages, "classify"), stage="classify")
    found = compare(ROOT, [lora, other])
    assert [(v.variant, v.difference.verdict) for v in found.verdicts] == [("the model named", WORSE)]
    assert not [line for line in found.missing if "instructions" in line]


def test_what_differs_in_parameters_data_code_and_numbers():
    def numbers(loss: float) -> dict[str, str]:
        return {"reports/pretrain/metrics.json": f'{{"validation_loss": {loss}, "steps": 9}}'}

    one = result("a", numbers(1.5), {"lora": {"lora": {"rank": 4, "alpha": 1}}, "sample": {"seed": 1}})
    other = {"lora": {"lora": {"rank": 8, "alpha": 1}}, "sample": {"seed": 1}, "evaluate": {"seed": 2}}
    two = result("b", numbers(1.25), other, tokens="e" * 32, code="2" * 32)
    found = compare(ROOT, [one, two])
    assert {line.name: line.values for line in found.params} == {
        "lora.rank": (4, 8), "seed": (1, ABSENT), "sample: seed": (ABSENT, 1), "evaluate: seed": (ABSENT, 2),
    }  # fmt: skip
    assert [line.name for line in found.data if line.differs] == ["data/tokens"]
    assert [(file.path, file.stages) for file in found.code[0]] == [("gpt/lora.py", ("lora",))]
    assert [(line.name, line.change(1)) for line in found.key_metrics] == [("pretrain: validation_loss", -0.25)]
    assert [line.name for line in found.metrics["pretrain"] if line.differs] == ["validation_loss"]


def page_of(tmp_path: Path) -> tuple[str, str]:
    nasty = "<script>alert(1)</script> | `x` ![i](http://example.org/i.png)"
    files = {
        MESSAGES: messages("pretrained", BAD),
        EVALUATED: instructions(BAD, answer=nasty, instruction=nasty),
        "reports/pretrain/curves/base.csv": "step,train_loss,validation_loss\n0,2,3\n5,1,1.5\n",
        "reports/classify/curves/full.csv": "step,validation_loss\n0,0.7\n5,0\n",
    }
    other = {**files, EVALUATED: instructions(GOOD, answer="fine", instruction=nasty)}
    found = compare(ROOT, [result(nasty, files), result("b", other)])
    folder = write_page(found, [LiveAnswer(nasty, ("</div>", "(its assistant's files are not here)"))], "here")
    assert sorted(file.name for file in folder.iterdir()) == ["comparison.html", "comparison.md", "curves.png"]
    return (folder / "comparison.html").read_text(), (folder / "comparison.md").read_text()


def test_the_page_needs_nothing_but_itself_and_escapes_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path))
    html, markdown = page_of(tmp_path)
    assert not re.findall(r"<(?:script|link|iframe|object|embed|base|form)\b", html)
    assert all(source.startswith("data:image/png;base64,") for source in re.findall(r'(?:src|href)="([^"]*)"', html))
    assert not re.findall(r"url\(|@import", html)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script" not in markdown
    assert "![i]" not in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert all(line.rstrip().endswith("|") for line in rows)


def test_tables_of_the_markdown_are_as_wide_as_their_heads(tmp_path, monkeypatch):
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(tmp_path))
    width = 0
    for line in page_of(tmp_path)[1].splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        cells = len(re.findall(r"(?<!\\)\|", line))
        assert cells == (width := width or cells), line


def test_curves_are_drawn_from_what_is_there():
    assert curves.draw([result("a"), result("b")]) is None
    one = result("a", {"reports/instruct/curves/pretrained.csv": "step,validation_loss\n0,3\n9,1\n"})
    assert (curves.draw([one, result("b")]) or b"").startswith(b"\x89PNG")


def test_names_become_folders_and_cells():
    assert folder_name(["models:/scriptorium-base@champion", "HEAD~1"]) == "models-scriptorium-base-champion_HEAD-1"
    assert folder_name(["../..", "b"]) == "x_b"
    assert cell("a|b\n*c*") == r"a\|b<br>\*c\*"
