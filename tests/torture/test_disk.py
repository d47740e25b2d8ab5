"""A disk that is full or read-only at any write of any stage: one clear error, nothing lost, and on it goes.

    python -m pytest tests/torture/test_disk.py -m torture

Three ways: the n-th file that would be opened for writing is refused, and all after it; no file may grow beyond a
limit; and, where one may mount it, a file system in memory that is really too small.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import journal
from tests.tiny import environment_of, run
from tests.torture.forge import STAGES
from tests.torture.lives import Forge, assert_same, copy_of

pytestmark = pytest.mark.torture
SAID = {
    "ENOSPC": "no space left on the disk: ",
    "EROFS": "Read-only file system",
    "EACCES": "Permission denied",
    "EFBIG": "no space for a file this large: ",
}
TRIES = 6  # a stage and kind of refusal


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    found = Forge(tmp_path_factory.mktemp("forge"))
    yield found
    found.close()


def test_every_stage_survives_every_refusal(
    undisturbed: Path, forge: Forge, tmp_path: Path, figures: Callable[[str, object], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    draw, folder = random.Random(4), copy_of(undisturbed, tmp_path / "workspace", *STAGES)
    monkeypatch.setenv("SCRIPTORIUM_HOME", str(folder / ".scriptorium"))
    refused = 0
    for stage in STAGES:
        for after in [0, 1, 2, *sorted(draw.sample(range(3, 60), TRIES))]:
            name = draw.choice(("ENOSPC", "ENOSPC", "EROFS", "EACCES"))
            status = forge.life(stage, folder, refuse=name, after=after)
            refused += clear(stage, status, forge.said.read_text(), name)
        for _ in range(TRIES):
            status = forge.life(stage, folder, file_bytes=int(10 ** draw.uniform(2, 5)))
            refused += clear(stage, status, forge.said.read_text(), "EFBIG")
        assert forge.life(stage, folder) == 0, forge.said.read_text()
        assert_same(folder, undisturbed, stage)
        assert len([key for key in journal.known() if key.startswith(f"{stage}-")]) <= 2, (
            "a try that ended well, and this"
        )
    figures("refused writes survived", f"{refused}, in all {len(STAGES)} stages")


def clear(stage: str, status: int, said: str, name: str) -> bool:
    """Whether the disk was in the way; if so, that it was told in one clear line."""
    if status == 0:
        return False
    assert status == 1, said
    assert "Traceback" not in said and "a fault of the program" not in said, said
    (line,) = [line for line in said.splitlines() if line.startswith(f"{stage}: ")]
    assert SAID[name] in line, said
    return True


def mounted(place: Path, size: str) -> bool:
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "scriptorium", str(place)]
    return shutil.which("mount") is not None and subprocess.run(command, capture_output=True).returncode == 0


def test_a_disk_that_is_really_full(undisturbed: Path, tmp_path: Path, figures: Callable[[str, object], None]) -> None:
    """Training goes on with every bit of room it is given; meanwhile the version before answers from DVC's cache."""
    disk = tmp_path / "disk"
    if os.geteuid() != 0 or not mounted(disk, "100m"):
        pytest.skip("mounting a file system in memory needs the rights for it")
    try:
        folder = copy_of(undisturbed, disk / "workspace")
        params = folder / "params.yaml"
        before = params.read_text()
        params.write_text(re.sub(r"(?s)(\npretrain:.*?epochs: )2", r"\g<1>3", before, count=1))
        used = shutil.disk_usage(disk).used
        full = 0
        for extra in range(0, 100):
            size = used + extra * 48 * 1024
            subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
            tried = subprocess.run(
                ["python", "-m", "dvc", "repro", "pretrain"], cwd=folder, capture_output=True, text=True,
                env=environment_of(folder, SCRIPTORIUM_SYNC="0", DVC_NO_ANALYTICS="1"),
            )  # fmt: skip
            if tried.returncode == 0:
                break
            full += 1
            assert "Traceback" not in tried.stderr, tried.stderr
            assert re.search("(?i)no space left on|disk is full", tried.stderr), tried.stderr
            if full == 1:
                said = run(folder, "python", "-m", "serving.chat", "--complete", "The cat", TMPDIR=str(tmp_path))
                assert said.stdout.startswith("The cat")
        assert full and tried.returncode == 0, tried.stderr
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    figures("runs on a full disk survived", full)
