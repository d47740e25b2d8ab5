"""Two processes, as the stages start them, train what one does: with whole weights and with spread ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gpt.distributed import Group
from gpt.launch import launch
from gpt.loss import next_token_loss
from gpt.train import Training, TrainSettings
from tests.gpt.sharing import CPU, HALF, KINDS, ROWS, SETTINGS, STEPS, body, half, trained, windows

WAYS = [(kind, way) for kind in KINDS for way in ("whole", "spread")]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes made of every kind of training (tests/gpt/sharing.py)."""
    folder = tmp_path_factory.mktemp("two")
    for kind in KINDS:
        half(kind, folder / f"{kind}-alone")
        trained(kind, folder / f"{kind}-finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
        assert launch(["-m", "tests.gpt.sharing", str(folder)], 2, 1, 5) == {}
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {kind: trained(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


def same(kind: str, expected: Any, history: list[dict[str, float]], weights: dict[str, torch.Tensor]) -> None:
    result, model = expected
    exact = 1e-5
    for mine, theirs in zip(result.history, history, strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            assert value == pytest.approx(theirs[name], rel=10 * exact if name == "gradient_norm" else exact), name
    for name, p in model.named_parameters():
        assert torch.allclose(p, weights[name], atol=20 * exact), name


@pytest.mark.parametrize(("kind", "way"), WAYS)
def test_they_train_what_one_does(two: Path, one: dict[str, Any], kind: str, way: str) -> None:
    place = two / f"{kind}-{way}" / "first"
    resumed_from, history = json.loads((place / "history.json").read_text())
    assert resumed_from == 0 and len(history) == STEPS + 1
    same(kind, one[kind], history, load_file(place / "weights.safetensors"))


@pytest.mark.parametrize(("kind", "way"), WAYS)
def test_both_end_with_the_same_bytes(two: Path, kind: str, way: str) -> None:
    first, second = (two / f"{kind}-{way}" / rank / "weights.safetensors" for rank in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(("kind", "way"), WAYS)
def test_they_go_on_from_what_one_left(two: Path, one: dict[str, Any], kind: str, way: str) -> None:
    place = two / f"{kind}-{way}" / "first-from-one"
    resumed_from, history = json.loads((place / "history.json").read_text())
    assert resumed_from == HALF
    same(kind, one[kind], history, load_file(place / "weights.safetensors"))


@pytest.mark.parametrize(("kind", "way"), WAYS)
def test_one_goes_on_from_what_they_left(
    two: Path, one: dict[str, Any], kind: str, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result, model = trained(kind, two / f"{kind}-{way}" / "half")
    assert result.resumed_from == HALF
    who = "2 processes with spread weights" if way == "spread" else "2 processes"
    assert capsys.readouterr().err == f"going on from step {HALF}, which {who} reached, with one process\n"
    same(kind, one[kind], result.history, dict(model.named_parameters()))


@pytest.mark.parametrize("kind", KINDS)
def test_what_one_finished_is_not_taken_for_theirs(two: Path, kind: str) -> None:
    resumed_from, history = json.loads((two / f"{kind}-first-again" / "history.json").read_text())
    assert resumed_from == 0
    assert history == json.loads((two / f"{kind}-whole" / "first" / "history.json").read_text())[1]
    (newest,) = (two / f"{kind}-again").glob(f"*/step-{STEPS}")
    assert json.loads((newest / "state.json").read_text())["shared_by"] == "2 processes"


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_spread_weights_has_the_tensors_of_any_other(two: Path, kind: str) -> None:
    for file in ("weights", "optimizer", "best"):
        whole, spread, alone = (
            load_file(next((two / f"{kind}-{way}").glob(f"{where}*/step-{HALF}/{file}.safetensors")))
            for way, where in (("whole", "half/"), ("spread", "half/"), ("alone", ""))
        )
        shapes = [{name: (t.shape, t.dtype) for name, t in found.items()} for found in (whole, spread, alone)]
        assert shapes[0] == shapes[1] == shapes[2] != {}


def test_every_row_of_a_step_is_one_process_s() -> None:
    for size in (1, 2, 3, 4):
        for micro_batches in (1, 2, 3, 4, 6):
            taken = [
                (micro, row)
                for rank in range(size)
                for micros, rows in [Group(rank, size).share(micro_batches)]
                for micro in micros
                for row in range(ROWS)[rows]
            ]
            assert sorted(taken) == [(micro, row) for micro in range(micro_batches) for row in range(ROWS)]


def test_fewer_rows_than_processes_are_refused() -> None:
    settings = TrainSettings(optimizer="adamw", accumulation_steps=1, **SETTINGS)
    training = Training(body(), next_token_loss, lambda *_: windows([1, 2]), settings, CPU, 3, Group(0, 3))
    with pytest.raises(ValueError, match="batches of 2 rows for 3 processes"):
        training.update()


def test_one_that_fails_ends_the_others_and_is_told_by_its_number() -> None:
    program = "import os, sys, time; time.sleep(60 if os.environ['RANK'] == '0' else 0); sys.exit(3)"
    failed = launch(["-c", program], 2, 1, 5)
    assert failed[1] == 3 and failed.get(0) in (None, -15)


def test_they_meet_on_loopback_alone(tmp_path: Path) -> None:
    """Every listening socket of the two processes, as Linux lists them."""
    program = f"""
import os, pathlib, re
from gpt.distributed import join
group = join("cpu"); group.wait()
mine = {{m[1] for fd in pathlib.Path("/proc/self/fd").iterdir() if (m := re.match(r"socket:\\[(\\d+)\\]", link(fd)))}}
rows = [line.split() for name in ("tcp", "tcp6") for line in open(f"/proc/net/{{name}}").readlines()[1:]]
pathlib.Path({str(tmp_path)!r}, str(group.rank)).write_text(
    "\\n".join(row[1] for row in rows if row[3] == "0A" and row[9] in mine))
group.wait()
""".replace("link(fd)", "(os.readlink(fd) if os.path.islink(fd) else '')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
        assert launch(["-c", program], 2, 1, 5) == {}
    listening = [line for rank in "01" for line in (tmp_path / rank).read_text().split()]
    assert listening and all(line.startswith("0100007F:") for line in listening)
