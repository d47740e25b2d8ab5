"""Edited data: what reads them runs again, and where the bytes come out the same the wave ends."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reads import record_all
from tests.tiny import CHANGES, make_workspace, run
from tests.torture.own import own, own_files

pytestmark = pytest.mark.torture
Figures = Callable[[str, object], None]
EDITED: list[str] = []
ALL = "download tokenize sample pretrain lora classify instruct evaluate"


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
    ("name", "edit", "ran"),
    [
        ("notes.txt", lambda _: "for myself", "download"),
        ("text.txt", replaced("The cat sees", "The cat finds"), ALL),
        ("text.txt", lambda text: text.replace("\n", "\r\n"), "download tokenize"),
        ("messages.tsv", replaced("ham\tsee", "spam\tsee"), "download sample lora classify evaluate"),
        ("messages.tsv", lambda text: text + text.splitlines()[0] + "\n", "download sample"),
        ("instructions.json", replaced('"cat0"}', '"cats"}'), "download sample instruct evaluate"),
        ("instructions.json", lambda text: json.dumps(json.loads(text), indent=2), "download sample"),
        ("vocab.bpe", replaced("t h\ni n\n", "i n\nt h\n"), ALL),
        ("vocab.bpe", lambda text: text + "\n", "download tokenize"),
    ],
)
def test_an_edit_reruns_what_reads_it_until_the_bytes_are_the_same(
    with_vocabulary: Path, tmp_path: Path, figures: Figures, name: str, edit: Callable[[str], str], ran: str
) -> None:
    folder = Path(shutil.copytree(with_vocabulary, tmp_path / "workspace", symlinks=True))
    lock, file = (folder / "dvc.lock").read_bytes(), folder / "data" / "own" / name
    before = file.read_text() if file.exists() else None
    file.write_text(edit(before or ""), newline="")
    said = run(folder, "dvc", "repro").stdout
    assert re.findall(r"^Running stage '(\w+)':", said, re.MULTILINE) == ran.split()
    if before is None:
        file.unlink()
    else:
        file.write_text(before)
    assert "Running stage" not in run(folder, "dvc", "repro").stdout
    assert (folder / "dvc.lock").read_bytes() == lock
    EDITED.append(name)
    figures("data edited, and what ran was what reads them, until the bytes were the same", f"{len(EDITED)} edits")
