"""Edited data: what reads them runs again, and where the bytes come out the same the wave ends."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tasks.plan import make_plan
from tests.reads import record_all
from tests.tiny import CHANGES, make_workspace, run
from tests.torture.own import own, own_files

pytestmark = pytest.mark.torture
Figures = Callable[[str, object], None]
EDITED: list[str] = []
TUNED = ("lora", "classify", "instruct")


@pytest.fixture(scope="module")
def with_vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace, trained, whose vocabulary is a file, as its text, messages and instructions are."""
    folder = tmp_path_factory.mktemp("with_vocabulary")
    own_files(folder / "data" / "own")
    vocabulary = {"download.vocabulary": [own("vocab.bpe"), own("encoder.json")], "tokenize.tokenizer": "gpt2"}
    return record_all(make_workspace(folder, CHANGES | vocabulary))


def replaced(old: str, new: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return edit


@pytest.mark.parametrize(
    ("edits", "ran"),
    [
        ({"notes.txt": lambda _: "for myself"}, "download"),
        ({"text.txt": replaced("The cat sees", "The cat finds")}, "download tokenize sample pretrain"),
        ({"text.txt": lambda text: text.replace("\n", "\r\n")}, "download tokenize"),
        ({"messages.tsv": replaced("ham\tsee", "spam\tsee")}, "download sample lora classify evaluate"),
        ({"messages.tsv": lambda text: text + text.splitlines()[0] + "\n"}, "download sample"),
        ({"instructions.json": replaced('"cat0"}', '"cats"}')}, "download sample instruct evaluate"),
        ({"instructions.json": lambda text: json.dumps(json.loads(text), indent=2)}, "download sample"),
        (
            {"vocab.bpe": replaced("a n\n", "a t\n"), "encoder.json": replaced('"an"', '"at"')},
            "download tokenize sample pretrain",
        ),
        ({"vocab.bpe": lambda text: text + "\n"}, "download tokenize"),
    ],
    ids=[
        "a file of no source",
        "text",
        "line ends",
        "a label",
        "a copy",
        "an answer",
        "layout",
        "merges",
        "an empty line",
    ],
)
def test_an_edit_reruns_what_reads_it_until_the_bytes_are_the_same(
    with_vocabulary: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    figures: Figures,
    edits: Mapping[str, Callable[[str], str]],
    ran: str,
) -> None:
    """Where all that is trained is about to follow, the run ends with the base."""
    folder = Path(shutil.copytree(with_vocabulary, tmp_path / "workspace", symlinks=True))
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(folder / ".scriptorium"))
    monkeypatch.chdir(folder)
    lock, mine = (folder / "dvc.lock").read_bytes(), folder / "data" / "own"
    before = {name: (mine / name).read_text() if (mine / name).exists() else "" for name in edits}
    for name, edit in edits.items():
        (mine / name).write_text(edit(before[name]), newline="")
    target = ["pretrain"] if "pretrain" in ran else []
    said = run(folder, "dvc", "repro", *target).stdout
    assert re.findall(r"^Running stage '(\w+)':", said, re.MULTILINE) == ran.split()
    if target:
        behind_it = [stage for stage in make_plan(folder).stages if stage.name in TUNED]
        assert [stage.action for stage in behind_it] == ["run"] * 3, behind_it
    for name, text in before.items():
        (mine / name).write_text(text) if text else (mine / name).unlink()
    assert "Running stage" not in run(folder, "dvc", "repro").stdout
    assert (folder / "dvc.lock").read_bytes() == lock
    EDITED.append(ran)
    figures("edits of data, each followed by what reads them until the bytes were the same", len(EDITED))
