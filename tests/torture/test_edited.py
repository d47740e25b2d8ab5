"""Inputs edited while DVC runs a stage: never recorded under the wrong ones, and nothing is thrown away.

python -m pytest tests/torture/test_edited.py -m torture
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import journal
from pipeline.files import remove_tree
from pipeline.graph import read_mapping
from tests.tiny import run
from tests.torture.lives import assert_same, copy_of, said_by, start

pytestmark = pytest.mark.torture
EDITS = {
    "a parameter": ("params.yaml", "seed: 123", "seed: 124"),
    "data": ("data/samples/text/mixture.json", "{", "{ "),
    "code": ("gpt/loss.py", "import", "import  "),
}


@pytest.mark.parametrize(
    ("command", "edits"),
    [(("dvc", "repro", "pretrain"), list(EDITS)), (("python", "-m", "flows.train", "--stages", "pretrain"), ["data"])],
)
def test_edits_are_undone(
    command: tuple[str, ...], edits: list[str], undisturbed: Path, tmp_path: Path,
    figures: Callable[[str, object], None], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = copy_of(undisturbed, tmp_path / "workspace", "pretrain", "lora", "classify", "instruct", "evaluate")
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(folder / ".scriptorium"))
    try:
        for what in edits:
            name, old, new = EDITS[what]
            file = folder / name
            before = file.read_text()
            assert old in before, name
            process = start(folder, *command, SCRIPTORIUM_SYNC="0")
            wait_until_it_trains(process, folder)
            file.write_text(before.replace(old, new, 1))
            assert process.wait(timeout=300) != 0, said_by(folder)
            assert "changed while the stage ran" in said_by(folder), said_by(folder)
            assert "pretrain" not in read_mapping(folder / "dvc.lock")["stages"]
            file.write_text(before)
            (parked,) = (folder / ".scriptorium" / "parked" / "pretrain").iterdir()
            if what != edits[-1]:  # computed again for the next edit
                remove_tree(parked)
                remove_tree(folder / ".scriptorium" / "checkpoints")
        done = run(folder, *command, SCRIPTORIUM_SYNC="0")
        assert "taken from the result that was kept aside" in done.stdout + done.stderr
    finally:
        run(folder, "python", "-m", "flows.services", "stop", check=False)
    assert_same(folder, undisturbed, "pretrain")
    lock, expected = (read_mapping(each / "dvc.lock")["stages"]["pretrain"] for each in (folder, undisturbed))
    assert lock == expected
    figures(
        f"edits while {'a flow' if len(edits) == 1 else 'dvc'} runs",
        f"{', '.join(edits)}: all parked, and taken when undone",
    )


def wait_until_it_trains(process: subprocess.Popen[str], folder: Path) -> None:
    seen = {key: journal.last(key).get("time") for key in journal.known()}
    while process.poll() is None:
        for key in journal.known():
            last = journal.last(key)
            if key.startswith("pretrain-") and last.get("type") == "metrics" and last.get("time") != seen.get(key):
                return
        time.sleep(0.005)
    raise AssertionError(said_by(folder))
