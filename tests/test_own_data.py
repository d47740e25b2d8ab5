"""The worked example of docs/own-data.md: what the page says to write and to run does what it says."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from corpus.documents import read_documents
from corpus.instructions import read_instructions
from corpus.messages import read_messages
from corpus.sources import Source, digest_of, fetch
from pipeline.params import check_params, dump_yaml, load_params, read_yaml
from pipeline.preset import overlay
from tests.tiny import ROOT, make_workspace, run

PAGE = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
FILES = ROOT / "docs" / "own-data"
LABELS = ["billing", "delay", "lost"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def settings() -> list[Any]:
    """The page's parameters: the example's, those for text of one's own alone, and a file at an address."""
    return [YAML(typ="safe").load(block) for block in blocks("yaml")]


def cells(file: str) -> list[tuple[str, str]]:
    """(line, message) of a file's rows in the table of bad lines."""
    return re.findall(rf"^\| `{re.escape(file)}` \| `(.*?)`[^|]* \| `(.*)` \|$", PAGE, re.MULTILINE)


def prepared(folder: Path, *changes: Any) -> Path:
    """A workspace after the page's two commands, and more changes, with less of the generated world."""
    make_workspace(folder, {"runtime.threads": 1})
    for file in FILES.iterdir():
        shutil.copy(file, folder / "data" / "own")
    mine = read_yaml(folder / "conf" / "data" / "own.yaml")
    for change in changes:
        overlay(mine, change)
    world = mine["download"]["world"]
    world["text_megabytes"] = min(world["text_megabytes"], 0.2)
    (folder / "conf" / "data" / "own.yaml").write_text(dump_yaml(mine))
    run(folder, "python", "-m", "pipeline.preset", "data=own")
    run(folder, "dvc", "repro", "sample")
    return folder


def read(folder: Path, path: str) -> Any:
    return json.loads((folder / path).read_text(encoding="utf-8"))


@pytest.mark.pipeline
def test_the_example_beside_the_generated_world(tmp_path):
    folder = prepared(tmp_path)
    found = read(folder, "reports/sample/metrics.json")
    for what in ("messages", "instructions"):
        counts = [found[f"{part}_{what}"] for part in ("train", "validation", "test")]
        assert "{}, {} and {} {}".format(*counts, what) in PAGE
    assert read(folder, "data/samples/messages/labels.json") == LABELS
    for part in ("train", "validation", "test"):
        lines = (folder / f"data/samples/messages/{part}.jsonl").read_text().splitlines()
        assert {json.loads(line)["label"] for line in lines} == set(LABELS)
    mixture = read(folder, "data/samples/text/mixture.json")
    assert mixture["sources"] == ["letters.txt", "logbook.txt", "notes.jsonl", "stories.jsonl"]
    tokens = mixture["weights"]
    assert sum(mixture["shares"][:3]) > 3 * sum(tokens[:3]) / sum(tokens)
    params = load_params(folder / "params.yaml")
    sizes = {"pretrain": "rows", "classify": "messages", "lora": "messages", "instruct": "instructions"}
    for stage, what in sizes.items():
        assert getattr(params, stage).batch_size <= found[f"train_{what}"], f"{stage} could not make a step"


@pytest.mark.pipeline
def test_the_example_alone(tmp_path):
    folder = prepared(tmp_path, settings()[1])
    about = read(folder, "data/tokens/tokens.json")["parts"]
    assert sorted(about["train"]["sources"]) == ["letters.txt", "logbook.txt", "notes.jsonl"]
    assert read(folder, "reports/tokenize/metrics.json")["documents"] == 22
    assert read(folder, "reports/sample/metrics.json")["validation_rows"] >= 1


def test_the_preset_is_the_embedded_one_with_the_page_s_changes():
    tree = read_yaml(ROOT / "conf" / "data" / "embedded.yaml")
    overlay(tree, settings()[0])
    assert tree == read_yaml(ROOT / "conf" / "data" / "own.yaml")


def test_what_the_page_shows_of_the_files_stands_in_them():
    texts = [file.read_text(encoding="utf-8") for file in FILES.iterdir()]
    for block in blocks("text"):
        assert any(block in text for text in texts), block


def test_the_page_s_parameters_and_its_file_at_an_address_are_valid(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    tree = read_yaml("conf/data/embedded.yaml")
    for change in settings():
        overlay(tree, change)
    whole = read_yaml("params.yaml")
    overlay(whole, tree)
    (source,) = check_params(whole, "the page").download.text
    assert source.sha256 == digest_of(FILES / "notes.jsonl")
    options: dict[str, Any] = {"mirror": None, "timeout_s": 5.0, "attempts": 1, "max_bytes": 10_000}
    here = Source(source.name, (FILES / "notes.jsonl").as_uri(), source.sha256)
    assert fetch(here, tmp_path, cache=tmp_path / "cache", **options).bytes == 601
    other = Source(source.name, here.url, "0" * 64)
    with pytest.raises(ValueError, match=r"notes.jsonl could not be fetched: \S+ has 601 bytes with sha256 4f53"):
        fetch(other, tmp_path / "other", cache=tmp_path / "cache", **options)
    with pytest.raises(ValueError, match=r"data/own/nowhere.txt does not exist$"):
        fetch(Source("a.txt", "data/own/nowhere.txt", None), tmp_path, cache=tmp_path / "cache", **options)


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [(file, *cell) for file in ("tickets.tsv", "logbook.txt", "notes.jsonl", "tasks.json") for cell in cells(file)],
)
def test_a_bad_line_is_named_as_the_page_says(monkeypatch, tmp_path, file, line, message):
    monkeypatch.chdir(tmp_path)
    path = Path(re.split("[:,]", message)[0])
    path.parent.mkdir(parents=True)
    text = (FILES / file).read_text(encoding="utf-8")
    line = line.replace("\\t", "\t")
    text = text.removesuffix("\n]\n") + f",\n{line}\n]\n" if file == "tasks.json" else f"{text}{line}\n"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError) as error:
        if file == "tickets.tsv":
            read_messages(path, LABELS)
        elif file == "tasks.json":
            read_instructions(path)
        else:
            list(read_documents(path.parent, "---"))
    assert str(error.value) == message


def test_a_table_with_columns_of_its_own_becomes_messages(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("data/own").mkdir(parents=True)
    Path("tickets.csv").write_text('id,team,message\n1,lost,"My ""red""\numbrella\t(new)"\n2,delay,Late.\n')
    (program,) = blocks("python")
    exec(program, {})
    rows = read_messages(Path("data/own/tickets.tsv"), LABELS)
    assert rows.to_numpy().tolist() == [["lost", 'My "red" umbrella (new)'], ["delay", "Late."]]


def test_the_page_shows_a_bad_line_of_each_file():
    assert [len(cells(file)) for file in ("tickets.tsv", "logbook.txt", "notes.jsonl", "tasks.json")] == [3, 1, 2, 2]
