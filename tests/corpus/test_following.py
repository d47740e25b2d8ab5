"""Asking followed sources: what did not change is not downloaded, what did is in the cache afterwards."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from corpus.following import Answer, ask
from corpus.sources import Fetched
from corpus.transfer import Patience
from tests.corpus.server import Hits

Ask = Callable[..., Answer]
OLD = bytes(1 << 16)
NEW = b"n" * (1 << 16)  # of the same size


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def asked(tmp_path: Path) -> Ask:
    def asked(url: str, member: str | None = None) -> Answer:
        patience = Patience(5.0, 3, 0.01)
        return ask(url, member, cache=tmp_path / "cache", patience=patience, max_bytes=1 << 24)

    return asked


@pytest.mark.parametrize(("path", "how"), [("tagged", "etag"), ("dated", "date"), ("deaf", "etag")])
def test_what_did_not_change_is_not_downloaded_and_what_did_is(
    web: Hits, asked: Ask, get: Callable[..., Fetched], tmp_path: Path, path: str, how: str
) -> None:
    web.body, url = OLD, f"{web.url}/{path}"
    assert asked(url) == Answer(sha(OLD), "hash", len(OLD))
    sent = web.sent
    assert asked(url) == Answer(sha(OLD), how)
    if path != "deaf":
        assert web.sent == sent
    web.body, web.etag, web.modified = NEW, '"two"', "Tue, 03 Jan 2023 03:04:05 GMT"
    assert asked(url) == Answer(sha(NEW), "hash", len(NEW))
    assert asked(url).how == how
    web.stop.set()
    assert get("a", "http://127.0.0.1:9/whatever", sha(NEW)).origin == "cache"  # download needs no network now
    assert not list((tmp_path / "cache" / "partial").iterdir())


def test_a_new_version_of_the_same_bytes_is_no_change(web: Hits, asked: Ask) -> None:
    first = asked(f"{web.url}/tagged")
    web.etag = '"two"'
    assert asked(f"{web.url}/tagged").sha256 == first.sha256


def test_a_date_without_the_same_size_proves_nothing(web: Hits, asked: Ask) -> None:
    asked(f"{web.url}/dated")
    web.body = web.body[:-1]
    (note,) = (web.body,)
    assert asked(f"{web.url}/dated").how == "date"  # the server itself says 304: it must know
    web.modified = "Tue, 03 Jan 2023 03:04:05 GMT"
    assert asked(f"{web.url}/dated").sha256 == sha(note)


def test_a_file_changed_while_its_date_could_hide_it_is_hashed_again(web: Hits, asked: Ask) -> None:
    from email.utils import formatdate

    web.modified = formatdate(usegmt=True)  # changed this very second: another change may follow under the same date
    asked(f"{web.url}/dated")
    assert asked(f"{web.url}/dated").how == "hash"


def test_a_server_that_says_nothing_of_versions_is_read_each_time(web: Hits, asked: Ask) -> None:
    for body in (OLD, OLD, NEW):
        web.body = body
        assert asked(f"{web.url}/plain") == Answer(sha(body), "hash", len(body))


def test_members_of_zips_follow_their_archive(web: Hits, asked: Ask, tmp_path: Path) -> None:
    def pack(**members: str) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
            for name, text in members.items():
                made.writestr(name, text)
        web.body = (tmp_path / "a.zip").read_bytes()

    pack(news="one", other="x")
    assert asked(f"{web.url}/tagged.zip", "news").sha256 == sha(b"one")
    assert asked(f"{web.url}/tagged.zip", "news") == Answer(sha(b"one"), "etag")
    assert asked(f"{web.url}/tagged.zip", "other").sha256 == sha(b"x")
    web.etag = '"two"'
    pack(news="one", other="y")
    assert asked(f"{web.url}/tagged.zip", "news").sha256 == sha(b"one")
    assert asked(f"{web.url}/tagged.zip", "other").sha256 == sha(b"y")
    with pytest.raises(ValueError, match="no member 'gone'; it holds news, other"):
        asked(f"{web.url}/tagged.zip", "gone")


def test_files_and_other_file_systems(asked: Ask, tmp_path: Path) -> None:
    file = tmp_path / "with space.txt"
    file.write_bytes(OLD)
    assert asked(file.as_uri()) == Answer(sha(OLD), "hash", len(OLD))
    assert asked(file.as_uri()) == Answer(sha(OLD), "date")
    facts = file.stat()
    file.write_bytes(NEW)
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # same size and date: the inode's own time tells
    assert asked(file.as_uri()).sha256 == sha(NEW)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr("a.txt", "text")
    chain = f"zip://a.txt::{(tmp_path / 'a.zip').as_uri()}"
    assert [asked(chain).how for _ in range(2)] == ["hash", "etag"]
    memory = fsspec.filesystem("memory")
    memory.pipe("/following/a.txt", b"one")
    assert [asked("memory://following/a.txt").how for _ in range(2)] == ["hash", "date"]
    memory.pipe("/following/a.txt", b"two")
    assert asked("memory://following/a.txt").sha256 == sha(b"two")
    with pytest.raises(ValueError, match="does not exist"):
        asked((tmp_path / "nothing").as_uri())


def test_a_server_in_trouble_is_asked_again_and_then_named(web: Hits, asked: Ask) -> None:
    asked(f"{web.url}/tagged")
    assert asked(f"{web.url}/shaky").sha256 == sha(web.body)
    with pytest.raises(ConnectionError, match="/broken answered 500"):
        asked(f"{web.url}/broken")
    with pytest.raises(ValueError, match="/nowhere answered 404"):
        asked(f"{web.url}/nowhere")


def test_a_note_that_is_damaged_costs_a_download_only(web: Hits, asked: Ask, tmp_path: Path) -> None:
    asked(f"{web.url}/tagged")
    (note,) = (tmp_path / "cache" / "seen").iterdir()
    note.write_text("{")
    assert asked(f"{web.url}/tagged").how == "hash"
    assert web.url not in note.read_text()  # an address may carry a password
