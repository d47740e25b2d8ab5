"""The kinds of failures, and what a person and the flow are told."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from pipeline.receipt import Receipt, kind_of, message_of, read_receipt


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("x"), "user"),
        (FileNotFoundError("x"), "user"),
        (ConnectionResetError("x"), "transient"),
        (TimeoutError("x"), "transient"),
        (FloatingPointError("x"), "numeric"),
        (KeyError("x"), "bug"),
        (AssertionError(), "bug"),
    ],
)
def test_the_kind_follows_from_the_type(error: Exception, kind: str) -> None:
    assert kind_of(error) == kind


def test_a_full_disk_names_place_and_space(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "models" / "weights"))
    message = message_of(error)
    assert kind_of(error) == "user"
    assert str(tmp_path / "models" / "weights") in message
    assert "MB free of" in message
    assert "no space left on the disk: /" in message_of(OSError(errno.ENOSPC, "No space left on device"))


def test_a_file_that_is_too_large_is_the_users_and_named() -> None:
    error = OSError(errno.EFBIG, "File too large", "models/weights")
    assert kind_of(error) == "user"
    assert message_of(error).startswith("no space for a file this large: models/weights ")


def test_what_may_not_be_written_is_named() -> None:
    error = OSError(errno.EROFS, "Read-only file system", "models/weights")
    assert (kind_of(error), message_of(error)) == ("user", "Read-only file system: models/weights")


def test_of_a_folder_that_could_not_be_copied_the_first_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("one", "two"):
        (tmp_path / "folder" / name).write_text(name)

    def full(source: str, place: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", place)

    with pytest.raises(shutil.Error) as raised:
        shutil.copytree(tmp_path / "folder", tmp_path / "copy", copy_function=full)
    assert message_of(raised.value).startswith(f"no space left on the disk: {tmp_path}/copy/")
    assert message_of(shutil.Error("x")) == "x"


def test_it_survives_writing_and_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "receipts" / "pretrain.json"
    monkeypatch.setenv("SCRIPTORIUM_RECEIPT", str(place))
    receipt = Receipt("pretrain", "executed", key="k", metrics={"loss": 0.1 + 0.2, "parts": {"a": 1}}, costs={"s": 2.5})
    receipt.write()
    assert read_receipt(place) == receipt
    receipt.costs["share_of_peak"] = float("nan")
    receipt.write()
    assert read_receipt(place).costs["share_of_peak"] is None  # type: ignore[union-attr]


def test_without_one_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCRIPTORIUM_RECEIPT", raising=False)
    Receipt("pretrain", "executed").write()
    broken = tmp_path / "half.json"
    broken.write_text('{"stage": "pre')
    assert read_receipt(tmp_path / "none.json") is None
    assert read_receipt(broken) is None


def test_a_copy_that_fills_the_disk_names_the_place_it_was_written_to(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "from"), None, str(tmp_path / "to"))
    assert str(tmp_path / "to") in message_of(error)
