"""Checkpoints: what is written comes back, and no kill, fault or flipped bit takes the last good one away."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt.checkpoint import Checkpoint, checkpoints_in, load_newest, save_checkpoint


def make(step: int, best: bool = True) -> Checkpoint:
    weights = {"a.weight": torch.full((3, 2), float(step)), "a.bias": torch.zeros(2)}
    optimizer = {"a.weight:step": torch.tensor(float(step)), "a.weight:exp_avg": torch.ones(3, 2)}
    history = [{"step": i, "loss": 0.1 * i} for i in range(step)]
    kept = {"a.bias": torch.ones(2)} if best else None
    return Checkpoint(step, {"tokens": 7 * step}, history, weights, optimizer, kept)


def same(a: Checkpoint, b: Checkpoint) -> bool:
    def equal(x: dict[str, torch.Tensor] | None, y: dict[str, torch.Tensor] | None) -> bool:
        return (x or {}).keys() == (y or {}).keys() and all(torch.equal(v, (y or {})[k]) for k, v in (x or {}).items())

    tensors = equal(a.weights, b.weights) and equal(a.optimizer, b.optimizer) and equal(a.best, b.best)
    return tensors and (a.step, a.state, a.history) == (b.step, b.state, b.history)


def steps(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("best", [True, False])
def test_comes_back_whole(tmp_path: Path, best: bool) -> None:
    save_checkpoint(tmp_path / "new", make(20, best))
    loaded = load_newest(tmp_path / "new", print)
    assert loaded is not None
    assert same(loaded, make(20, best))


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (5, 20, 100):
        save_checkpoint(tmp_path, make(step))
    assert steps(tmp_path) == ["step-100", "step-20"]
    assert [path.name for path in checkpoints_in(tmp_path)] == ["step-20", "step-100"]


def test_nothing_there() -> None:
    assert load_newest(Path("/nonexistent"), print) is None


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "optimizer.safetensors", "history.jsonl", "state.json", "digests.json"]
)
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "missing"])
def test_damage_is_reported_and_the_one_before_used(tmp_path: Path, name: str, damage: str) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, make(step))
    path = tmp_path / "step-2" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": bytes(data[:-3]), "flipped": bytes(data), "empty": b""}[damage])
    lines: list[str] = []
    loaded = load_newest(tmp_path, lines.append)
    assert loaded is not None
    assert same(loaded, make(1))
    assert len(lines) == 1
    assert "step-2 is damaged" in lines[0]
    assert steps(tmp_path) == ["step-1"]


class Fault:
    """An audit hook that fails the n-th file operation (open, mkdir, rename, remove …) under a folder, for real.

    Python can't take a hook away again; without a folder it does nothing.
    """

    def __init__(self) -> None:
        self.folder: str | None = None
        self.left = 0
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None or not event.startswith(("open", "os.", "shutil.")):
            return
        if any(self.folder in str(argument) for argument in arguments[:2]):
            if self.left == 0:
                raise OSError(28, "No space left on device")
            self.left -= 1


def test_a_fault_between_any_two_file_operations_leaves_the_previous_one_usable(tmp_path: Path) -> None:
    fault = Fault()
    for operation in range(500):
        folder = tmp_path / f"fault-{operation}"
        for step in (1, 2):
            save_checkpoint(folder, make(step))
        fault.folder, fault.left = str(folder), operation
        try:
            save_checkpoint(folder, make(3))
            failed = False
        except OSError:
            failed = True
        fault.folder = None
        lines: list[str] = []
        loaded = load_newest(folder, lines.append)
        assert loaded is not None
        assert not lines
        assert same(loaded, make(2)) or same(loaded, make(3))
        save_checkpoint(folder, make(3))  # and the next attempt works
        assert steps(folder) == ["step-2", "step-3"]
        if not failed:
            break
    assert operation > 20
    assert not failed


def test_the_points_at_which_a_kill_can_strike_come_in_order(tmp_path: Path) -> None:
    passed: list[str] = []
    save_checkpoint(tmp_path, make(1), passed.append)
    writes = ["after write"] * 6  # three files of tensors, the history, the state, the digests
    assert passed == ["before write", *writes, "after flush", "before rename", "after rename"]


# a limit on the size of files stands for the full disk: the same write() fails
FULL = """
import resource, signal, sys
from pathlib import Path
import torch
from gpt.checkpoint import Checkpoint, save_checkpoint
from gpt.tensor_file import write_tensors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
weights, folder = {"a": torch.zeros(1000)}, Path(sys.argv[1])
for write in (
    lambda: write_tensors(folder / "weights.safetensors", weights),
    lambda: save_checkpoint(folder, Checkpoint(1, {}, [], weights, {})),
    lambda: write_tensors(folder / "missing" / "weights.safetensors", weights),
):
    try:
        write()
    except OSError as error:
        print(error.errno, Path(error.filename).relative_to(folder))
"""


def test_what_the_disk_refuses_is_an_os_error_with_the_files_name(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"{errno.EFBIG} weights.safetensors",
        f"{errno.EFBIG} step-1.partial/weights.safetensors",
        f"{errno.ENOENT} missing/weights.safetensors",
    ]
