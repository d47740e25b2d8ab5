"""Ten thousand and more mutations over every kind of input file (`make torture`); what is drawn is always the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.torture.kinds import KINDS, ROOT

LEAST = 10_000
SHARES = {"parameters": 450, "model": 700, "bare-weights": 600, "classifier": 600, "adapter": 800}  # the slow ones
OTHERS = 1000

pytestmark = pytest.mark.torture
counted: Counter[str] = Counter()


def campaign(kind: str) -> subprocess.CompletedProcess[str]:
    count = str(SHARES.get(kind, OTHERS))
    command = [sys.executable, "-m", "tests.torture.mutating", kind, count]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def campaigns() -> Iterator[dict[str, Callable[[], subprocess.CompletedProcess[str]]]]:
    """All of them, two at a time, each waited for by its own test."""
    with ThreadPoolExecutor(2) as pool:
        started = {kind: pool.submit(campaign, kind) for kind in KINDS}
        yield {kind: future.result for kind, future in started.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_mutant_is_refused_by_name_or_read_rightly(
    kind: str,
    campaigns: dict[str, Callable[[], subprocess.CompletedProcess[str]]],
    figures: Callable[[str, object], None],
) -> None:
    done = campaigns[kind]()
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout)
    assert found["refused"] + found["right"] == found["tried"] == SHARES.get(kind, OTHERS)
    counted.update(found)
    figures(
        f"mutations of {kind}",
        "{tried:,} tried, {past:,} past the first check; {refused:,} refused, {right:,} read rightly".format(**found)
        + f"; memory grew by {found['grown_kb'] / 1024:.0f} MB",
    )


def test_there_were_enough_of_them(figures: Callable[[str, object], None]) -> None:
    if set(KINDS) and not counted:
        pytest.skip("the campaigns were not selected")
    assert counted["tried"] >= LEAST and counted["past"] >= counted["tried"] / 3
    figures("mutations in all", f"{counted['tried']:,} tried, {counted['past']:,} past the first check")
