"""The docs' tables are those of the schema and the presets, and what the docs tell one to try is possible."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline import describe
from pipeline.graph import load_graph
from pipeline.params import check_params, read_yaml
from pipeline.preset import compose
from pipeline.schema import Params

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def row(table: str, path: str) -> list[str]:
    """The cells of a parameter's line."""
    (line,) = [line for line in table.splitlines() if line.startswith(f"| `{path}` |")]
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[2:-1]]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("model.dropout", "number ≥ 0 and < 1"),
        ("model.tie_embeddings", "`true`, `false`"),
        ("pretrain.eval_batches", "whole number ≥ 1 or `null`"),
        ("pretrain.optimizer", "`adamw`, `muon`"),
        ("sample.messages.labels", "list of text, 2 or more"),
        ("sample.mixture.weights", "names, each with a number > 0"),
        ("classify.variants", "list of `pretrained`, `random`, `full`, 1 or more"),
        ("download.text[].sha256", "text like `^[0-9a-f]{64}$` or `null`"),
        ("runtime.threads", "whole number 1 to 256"),
        ("seed", "whole number ≥ 0 and < 2^63"),
    ],
)
def test_types_and_bounds_in_words(path, allowed):
    assert row(describe.table(path.split(".")[0]), path)[1] == allowed


def test_values_are_the_presets_as_they_are_written(tmp_path, monkeypatch):
    for name, text in {"data/embedded": "sample: {rows: windows}", "model/nano": "lora: {alpha: 4e-1}"}.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True)
        (tmp_path / "conf" / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)  # there is no params.yaml here
    assert row(describe.table("sample"), "sample.rows")[0] == "`windows`"
    assert row(describe.table("lora"), "lora.alpha")[0] == "`4e-1`"
    assert row(describe.table("lora"), "lora.rank")[0] == "–"


def test_what_would_be_markup_is_shown_as_it_is():
    assert r"\<\|endoftext\|>" in row(describe.table("tokenize"), "tokenize.trained_vocab_size")[2]


def test_an_unknown_name_is_refused(capsys):
    assert describe.main(["optimizer"]) == 1
    assert capsys.readouterr().err.startswith("error: there is no parameter 'optimizer': allowed are seed, runtime")


def test_no_page_is_stale():
    stale = [page.name for page in PAGES if describe.filled(text := page.read_text(encoding="utf-8")) != text]
    assert not stale, f"{', '.join(stale)}: python -m pipeline.describe --docs  brings the parameters up to date"


def test_writing_the_docs_mends_a_stale_page(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("# A\n\n<!-- parameters: seed -->\nold\n<!-- end of parameters -->\n\nB\n")
    monkeypatch.setattr(describe, "DOCS", tmp_path)
    assert describe.write_docs() == [page]
    assert describe.write_docs() == []
    text = page.read_text()
    assert describe.table("seed") in text
    assert "old" not in text
    assert text.endswith("\n\nB\n")


def test_every_stage_has_its_page_and_every_parameter_its_table():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    shown = [name for found in describe.MARKED.finditer(text) for name in found[2].split()]
    assert sorted(shown) == sorted(Params.model_fields)
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\d\. \[(\w+)\]\(\1\.md\)", index, re.MULTILINE) == list(load_graph(ROOT))
    for page in PAGES:
        for link in re.findall(r"\]\(([^):#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_there_is_to_try_can_be_tried(page):
    whole = compose(read_yaml("params.yaml"), describe.PRESETS)
    for line in re.findall(r"^dvc exp run (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        tree = copy.deepcopy(whole)
        for path, value in re.findall(r"-S '?([\w.]+)=([^\s']+)'?", line):
            *sections, leaf = path.split(".")
            place = tree
            for section in sections:
                place = place[section]
            assert leaf in place, f"{page.name}: {path}"
            place[leaf] = YAML(typ="safe").load(value)
        check_params(tree, f"{page.name}: {line}")
