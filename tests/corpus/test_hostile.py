"""Servers and archives that mean harm: verified data or a clear error, in bounded time and space."""

from __future__ import annotations

import hashlib
import os
import stat
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from corpus.sources import Fetched
from tests.corpus.server import Hits

Get = Callable[..., Fetched]
ROOM = 32 << 20
PATIENCE_S = 20.0  # against an endless wait, not a measurement: each takes about two seconds


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("longer", ValueError, "expected"),
        ("bomb", ValueError, "sends more than the 16,777,216 bytes allowed"),
        ("gone", ConnectionError, "gone could not be read"),
        ("header", TimeoutError, "gave no whole answer"),
        ("continue", TimeoutError, "gave no whole answer"),
        ("trailers", TimeoutError, "sent no data"),
        ("chunk", TimeoutError, "sent no data"),
        ("maze", ValueError, "redirects more than 10 times"),
    ],
)
def test_what_means_harm_costs_little_and_leaves_nothing(
    web: Hits, get: Get, tmp_path: Path, path: str, error: type[Exception], words: str
) -> None:
    timeout_s = 0.3 if error is TimeoutError else 5.0
    tracemalloc.start()
    began = time.monotonic()
    try:
        with pytest.raises(error, match=words):
            get("a.bin", f"{web.url}/{path}", sha(web.body), timeout_s=timeout_s, attempts=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < PATIENCE_S and peak < ROOM
    assert files_below(tmp_path / "raw") == []
    assert sum(file.stat().st_size for file in (tmp_path / "cache").rglob("*") if file.is_file()) <= 1 << 24


def test_a_length_that_is_no_number_is_not_believed(web: Hits, get: Get, tmp_path: Path) -> None:
    assert get("a.bin", f"{web.url}/nonsense", sha(web.body)).bytes == len(web.body)
    assert (tmp_path / "raw" / "a.bin").read_bytes() == web.body


def test_a_password_comes_from_netrc_and_is_in_no_error(
    web: Hits, get: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login reader password open-sesame\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert get("a.bin", f"{web.url}/secret", sha(web.body)).bytes == len(web.body)
    with pytest.raises(ValueError, match="404") as caught:
        get("b.bin", f"{web.url.replace('//', '//reader:open-s@same@')}/nowhere", sha(b"b"))
    assert "same@" not in str(caught.value) and "open-" not in str(caught.value)


def test_an_archives_members_never_leave_the_folder(get: Get, tmp_path: Path) -> None:
    """Members with such names are refused, and one beside them is written where it is asked for, not where they say."""
    outside = tmp_path / "outside"
    names = ["../outside", "/outside", str(outside), "a/../../outside", "fine"]
    made = tmp_path / "made.zip"
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(name, b"data of " + name.encode())
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, str(outside))
    for name in [*names[:-1], "link"]:
        with pytest.raises(ValueError, match=r"not allowed|not a regular file"):
            get("a", made.as_uri(), sha(b"data of " + name.encode()), member=name)
    get("a", made.as_uri(), sha(b"data of fine"), member="fine")
    assert files_below(tmp_path / "raw") == ["a"] and not outside.exists()


def test_bombs_are_stopped_by_what_comes_out_not_by_what_they_say(get: Get, tmp_path: Path) -> None:
    made = tmp_path / "made.zip"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("bomb", "w") as member:
        for _ in range(256):
            member.write(bytes(1 << 20))
    for size in (256 << 20, 10):  # what the directory says of it: the truth, and a lie
        data = bytearray(made.read_bytes())
        for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            place = data.index(signature) + at
            data[place : place + 4] = size.to_bytes(4, "little")
        made.write_bytes(data)
        tracemalloc.start()
        with pytest.raises(ValueError, match=r"unpacks to more than|sha256|can't be unpacked"):
            get("a", made.as_uri(), sha(b"x"), member="bomb", max_bytes=1 << 22)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < ROOM and files_below(tmp_path / "raw") == [] and files_below(tmp_path / "cache" / "partial") == []


def test_names_that_try_to_leave_the_folder_write_nothing(get: Get, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a")
    before = files_below(tmp_path)
    for name in ("../up", "/abs", "a/b", "..", "a\\..\\b", ".", ".a", "a\n", f"..{os.sep}up"):
        with pytest.raises(ValueError, match="is not allowed"):
            get(name, (tmp_path / "a.txt").as_uri(), sha(b"a"))
    assert files_below(tmp_path) == before
