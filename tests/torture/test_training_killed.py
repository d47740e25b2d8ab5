"""SIGKILL to the training process, a damaged checkpoint, a diverging loss, a kill before DVC commits.

python -m pytest tests/torture/test_training_killed.py -m torture
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import paths
from tests.torture.forge import STAGES
from tests.torture.lives import (
    INTERVAL,
    TRAININGS,
    Forge,
    assert_same,
    assert_told_once,
    copy_of,
    damage_newest,
    forget,
    most_repeated,
)

pytestmark = pytest.mark.torture
WRITING = ("before write", "after write", "after flush", "before rename", "after rename")
ENDING = ("before keeping", "after keeping", "after publishing", "ended")
RANDOM_KILLS = 6  # a training


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    found = Forge(tmp_path_factory.mktemp("forge"))
    yield found
    found.close()


def test_every_training_survives_every_kill(
    undisturbed: Path, forge: Forge, tmp_path: Path, figures: Callable[[str, object], None]
) -> None:
    """Killed at each point of writing a checkpoint, then at random moments, with damage in between; then it ends."""
    draw, folder = random.Random(1), copy_of(undisturbed, tmp_path / "workspace", *TRAININGS, "evaluate")
    killed: Counter[str] = Counter()
    damaged = repeated = 0
    for stage in TRAININGS:
        forge.steps()
        began = time.monotonic()
        for point in WRITING:
            nth = draw.randint(1, 4) if point == "after write" else 1
            killed[point] += forge.life(stage, folder, fault=f"{point}:{nth}") == -9
        long_s = 1.5 * (time.monotonic() - began) / len(WRITING)  # from the start to the first checkpoint, and more
        repeated = max(repeated, most_repeated(forge.steps()))
        already = killed["random moments"]
        while killed["random moments"] < already + RANDOM_KILLS:
            if draw.random() < 0.4:
                damage_newest(folder, stage, draw)
            status = forge.life(stage, folder, kill_after_s=draw.uniform(0.0, long_s))
            killed["random moments"] += status == -9
            damaged += forge.said.read_text().count("is damaged")
            if status != -9:  # it has ended: once more from nothing
                assert status == 0, forge.said.read_text()
                assert_same(folder, undisturbed, stage)
                forget(folder, stage)
        damage_newest(folder, stage, draw)
        assert forge.life(stage, folder) == 0, forge.said.read_text()
        damaged += forge.said.read_text().count("is damaged")
        assert_same(folder, undisturbed, stage)
    assert damaged
    assert all(killed[point] >= len(TRAININGS) for point in WRITING)
    assert repeated <= INTERVAL
    assert_told_once(folder, undisturbed, *TRAININGS)
    figures("kills of trainings survived", f"{killed.total()} ({', '.join(f'{n} {at}' for at, n in killed.items())})")
    figures("steps repeated after a kill", f"at most {repeated}, with a checkpoint every {INTERVAL}")
    figures("damaged checkpoints found out", damaged)


def test_nothing_is_lost_between_the_last_write_and_the_commit(
    undisturbed: Path, forge: Forge, tmp_path: Path, figures: Callable[[str, object], None]
) -> None:
    """Every stage, killed at every point behind its last write: what was finished is taken, not made again."""
    folder = copy_of(undisturbed, tmp_path / "workspace", *STAGES)
    killed = 0
    for stage in STAGES:
        for point in ENDING:
            assert forge.life(stage, folder, fault=f"{point}:1") in ((-9,) if point != "ended" else (-9, 0))
            killed += 1
        assert forge.life(stage, folder) == 0, forge.said.read_text()
        assert (folder / paths.kept(stage).relative_to(Path.cwd())).is_dir(), "dvc.lock does not name it yet"
        assert_same(folder, undisturbed, stage)
    figures("kills between the last write and DVC's commit", killed)
