"""Fetching: from a web server that misbehaves, from mirrors, archives and a person's own files."""

from __future__ import annotations

import hashlib
import os
import resource
import socket
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from corpus.sources import Fetched, side_by_side
from tests.corpus.server import Hits

Get = Callable[..., Fetched]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def left(folder: Path) -> list[str]:
    """Every file below a folder, hidden ones too; none where there is no folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_file_is_fetched_verified_and_cached(web: Hits, get: Get, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    fetched = get("a.bin", f"{web.url}/plain.bin", sha(web.body), progress=lambda *numbers: seen.append(numbers))
    assert fetched == Fetched("a.bin", len(web.body), sha(web.body), "source")
    assert (tmp_path / "raw" / "a.bin").read_bytes() == web.body
    assert left(tmp_path / "raw") == ["a.bin"] and left(tmp_path / "cache" / "partial") == []
    assert seen[-1] == (len(web.body), len(web.body)) and seen == sorted(seen)


def test_several_come_at_once_and_in_their_order(web: Hits, get: Get) -> None:
    names = ["a", "b", "c"]
    found = side_by_side(lambda name: get(name, f"{web.url}/together/{name}", sha(name.encode())), names)
    assert [fetched.name for fetched in found] == names


def test_the_first_that_fails_ends_it_and_is_not_kept_waiting(web: Hits, get: Get, tmp_path: Path) -> None:
    wanted = {"a": ("plain", web.body), "b": ("missing", b"b"), "c": ("silent", b"c")}

    def one(name: str) -> Fetched:
        path, body = wanted[name]
        return get(name, f"{web.url}/{path}", sha(body), timeout_s=600.0)

    found = side_by_side(one, list(wanted))
    assert next(found).name == "a"
    with pytest.raises(ValueError, match="/missing"):
        next(found)
    assert left(tmp_path / "raw") == ["a"]


def test_what_was_verified_once_costs_no_network(web: Hits, get: Get, tmp_path: Path) -> None:
    url = f"{web.url}/plain.bin"
    get("a.bin", url, sha(web.body))
    assert get("a.bin", url, sha(web.body)).origin == "cache"  # it stands where it should
    (tmp_path / "raw" / "a.bin").unlink()
    assert get("a.bin", url, sha(web.body)).origin == "cache"  # it stands in the cache
    assert get("b.bin", "http://127.0.0.1:9/other", sha(web.body)).origin == "cache"  # whatever the address
    assert web.count["/plain.bin"] == 1


def test_a_damaged_cache_or_target_is_fetched_again(web: Hits, get: Get, tmp_path: Path) -> None:
    url = f"{web.url}/plain.bin"
    get("a.bin", url, sha(web.body))
    for path in (tmp_path / "raw" / "a.bin", tmp_path / "cache" / sha(web.body)):
        path.write_bytes(b"damaged")
    assert get("a.bin", url, sha(web.body)).origin == "source"
    assert (tmp_path / "raw" / "a.bin").read_bytes() == web.body


def test_a_broken_body_is_continued_by_range(web: Hits, get: Get, tmp_path: Path) -> None:
    get("a.bin", f"{web.url}/resumable.bin", sha(web.body))
    assert web.ranges == [None, f"bytes={len(web.body) // 2}-"]
    assert (tmp_path / "raw" / "a.bin").read_bytes() == web.body


def test_a_later_process_continues_too(web: Hits, get: Get, tmp_path: Path) -> None:
    url = f"{web.url}/resumable.bin"
    with pytest.raises(ConnectionError, match=r"resumable\.bin"):
        get("a.bin", url, sha(web.body), attempts=1)
    assert left(tmp_path / "raw") == [] and len(left(tmp_path / "cache" / "partial")) == 2
    get("a.bin", url, sha(web.body), attempts=1)
    assert web.ranges[-1] == f"bytes={len(web.body) // 2}-" and left(tmp_path / "cache" / "partial") == []


def test_another_version_on_the_server_is_not_glued_to_the_first(web: Hits, get: Get, tmp_path: Path) -> None:
    url, new = f"{web.url}/resumable.bin", b"new" * 100_000
    with pytest.raises(ConnectionError):
        get("a.bin", url, sha(new), attempts=1)
    web.body, web.etag = new, '"two"'
    get("a.bin", url, sha(new))
    assert (tmp_path / "raw" / "a.bin").read_bytes() == new


def test_continued_bytes_that_prove_wrong_get_one_fresh_start(web: Hits, get: Get, tmp_path: Path) -> None:
    url = f"{web.url}/resumable.bin"
    with pytest.raises(ConnectionError):
        get("a.bin", url, sha(web.body), attempts=1)
    (part,) = (tmp_path / "cache" / "partial").glob("*.part")
    part.write_bytes(b"\xff" * part.stat().st_size)
    get("a.bin", url, sha(web.body))
    assert (tmp_path / "raw" / "a.bin").read_bytes() == web.body


def test_more_bytes_than_the_server_has_start_over(web: Hits, get: Get, tmp_path: Path) -> None:
    url = f"{web.url}/resumable.bin"
    with pytest.raises(ConnectionError):
        get("a.bin", url, sha(web.body), attempts=1)
    (part,) = (tmp_path / "cache" / "partial").glob("*.part")
    part.write_bytes(web.body + b"more")
    web.count["/resumable.bin"] = 2  # from here on the server sends everything at once
    get("a.bin", url, sha(web.body), attempts=1)
    assert (tmp_path / "raw" / "a.bin").read_bytes() == web.body


def test_failures_that_may_pass_are_tried_again(web: Hits, get: Get) -> None:
    assert get("a.bin", f"{web.url}/shaky", sha(web.body)).origin == "source"
    assert web.count["/shaky"] == 3


def test_redirects_are_followed_but_not_out_of_the_web(web: Hits, get: Get) -> None:
    assert get("a.bin", f"{web.url}/moved", sha(web.body)).bytes == len(web.body)
    with pytest.raises(ValueError, match="redirects more than 10 times"):
        get("b.bin", f"{web.url}/round", sha(b"b"))
    with pytest.raises(ValueError, match="redirects to file:///etc/hostname"):
        get("c.bin", f"{web.url}/outside", sha(b"c"))


@pytest.mark.parametrize(
    ("path", "error", "words", "tries"),
    [
        ("plain.bin", ValueError, "sha256 .* expected", 1),
        ("nowhere", ValueError, "404", 1),
        ("broken", ConnectionError, "500", 3),
        ("truncated", ConnectionError, "IncompleteRead", 3),
        ("endless", ValueError, "sends more than the 16,777,216 bytes allowed", 1),
        ("huge", ValueError, "announces 1,000,000,000,000,000 bytes", 1),
        ("silent", TimeoutError, "was silent for 0.3 s", 3),
        ("dripping", TimeoutError, "too few to go on", 3),
    ],
)
def test_what_goes_wrong_is_an_error_that_names_the_source_and_leaves_nothing(
    web: Hits, get: Get, tmp_path: Path, path: str, error: type[Exception], words: str, tries: int
) -> None:
    timeout_s = 0.3 if error is TimeoutError else 5.0
    with pytest.raises(error, match=words) as caught:
        get("a.bin", f"{web.url}/{path}", sha(b"what was published"), timeout_s=timeout_s)
    assert f"{web.url}/{path}" in str(caught.value) and "a.bin" in str(caught.value)
    assert web.count[f"/{path}"] == tries
    assert left(tmp_path / "raw") == []
    if error is ValueError:
        assert left(tmp_path / "cache" / "partial") == []


def test_a_full_disk_is_reported_and_given_back(web: Hits, get: Get, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(web.body) // 2, hard))  # what a full disk is to a writer
    try:
        with pytest.raises(OSError, match="too large"):
            get("a.bin", f"{web.url}/plain.bin", sha(web.body))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left(tmp_path / "raw") == [] and left(tmp_path / "cache" / "partial") == []
    assert web.count["/plain.bin"] == 1


def test_a_dead_host_is_named(get: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectionError, match=f"127.0.0.1:{port}.*refused"):
        get("a.bin", f"http://127.0.0.1:{port}/a.bin", sha(b"a"))
    assert left(tmp_path / "raw") == []


def test_errors_show_no_password_and_no_signature(web: Hits, get: Get) -> None:
    with pytest.raises(ValueError, match="404") as caught:
        get("a.bin", f"{web.url.replace('//', '//user:secret@')}/nowhere?signature=hidden", sha(b"a"))
    assert "secret" not in str(caught.value) and "hidden" not in str(caught.value)


def test_a_mirror_folder_is_tried_first_under_the_last_part_of_the_address(web: Hits, get: Get, tmp_path: Path) -> None:
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / "with space.bin").write_bytes(web.body)
    fetched = get("a.bin", f"{web.url}/deep/with%20space.bin?v=1", sha(web.body), mirror=str(folder))
    assert fetched.origin == "mirror" and not web.count


def test_a_mirror_address_serves_too(web: Hits, get: Get) -> None:
    assert get("a.bin", "http://127.0.0.1:9/plain.bin", sha(web.body), mirror=web.url + "/").origin == "mirror"


def test_a_wrong_or_missing_mirror_file_is_a_warning(
    web: Hits, get: Get, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "plain.bin").write_bytes(b"old")
    assert get("a.bin", f"{web.url}/plain.bin", sha(web.body), mirror=str(tmp_path)).origin == "source"
    assert str(tmp_path / "plain.bin") in caplog.text and "expected" in caplog.text


def test_when_all_fails_every_place_is_listed(web: Hits, get: Get, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.bin does not exist; .*/nowhere\.bin answered 404"):
        get("a.bin", f"{web.url}/nowhere.bin", sha(b"a"), mirror=str(tmp_path))
    with pytest.raises(ConnectionError, match=r"does not exist; .*500"):  # a server in trouble may recover: transient
        get("a.bin", f"{web.url}/broken", sha(b"a"), mirror=str(tmp_path))


def archive(path: Path, members: dict[str, bytes], **attributes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, value in attributes.items():
                setattr(info, key, value)
            made.writestr(info, data)
    return path


def test_a_zip_member_is_what_the_hash_pins(web: Hits, get: Get, tmp_path: Path) -> None:
    web.body = archive(tmp_path / "made.zip", {"readme": b"r", "deep/SMS": b"ham\thello\n"}).read_bytes()
    fetched = get("messages.tsv", f"{web.url}/plain.zip", sha(b"ham\thello\n"), member="deep/SMS")
    assert fetched == Fetched("messages.tsv", 10, sha(b"ham\thello\n"), "source")
    assert left(tmp_path / "cache" / "partial") == []  # the archive is not kept
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "SMS").write_bytes(b"spam\thi\n")
    fetched = get("b", f"{web.url}/x.zip", sha(b"spam\thi\n"), member="deep/SMS", mirror=str(tmp_path / "mirror"))
    assert fetched.origin == "mirror"


@pytest.mark.parametrize(
    ("member", "attributes", "words"),
    [
        ("missing", {}, "no member 'missing'; it holds bomb, fine"),
        ("../fine", {}, "not allowed"),
        ("/fine", {}, "not allowed"),
        ("..\\fine", {}, "not allowed"),
        ("bomb", {}, "unpacks to more than"),
        ("fine", {"external_attr": (stat.S_IFLNK | 0o777) << 16}, "not a regular file"),
        ("fine", {}, r"\(fine\) has 4 bytes with sha256"),
    ],
)
def test_archives_that_are_not_what_they_should_be(
    get: Get, tmp_path: Path, member: str, attributes: dict[str, int], words: str
) -> None:
    made = archive(tmp_path / "made.zip", {"fine": b"fine", "bomb": bytes(1 << 20)}, **attributes)
    with pytest.raises(ValueError, match=words):
        get("a", made.as_uri(), sha(b"other"), member=member, max_bytes=1 << 16)
    assert left(tmp_path / "raw") == [] and left(tmp_path / "cache" / "partial") == []


def test_a_damaged_archive_is_named(get: Get, tmp_path: Path) -> None:
    made = archive(tmp_path / "made.zip", {"fine": b"fine" * 1000})
    data = bytearray(made.read_bytes())
    data[40] ^= 0xFF  # in the compressed bytes of the member
    for broken in (bytes(data), b"no archive at all"):
        made.write_bytes(broken)
        with pytest.raises(ValueError, match=r"made\.zip: member fine can't be unpacked"):
            get("a", made.as_uri(), sha(b"fine" * 1000), member="fine")
    assert left(tmp_path / "raw") == []


def test_other_addresses_go_through_fsspec(get: Get, tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"text")
    made = archive(tmp_path / "made.zip", {"a.txt": b"chained"})
    assert get("a", (folder / "a.txt").as_uri(), sha(b"text")).origin == "source"
    assert get("b", f"zip://a.txt::{made.as_uri()}", sha(b"chained")).bytes == 7
    with pytest.raises(ValueError, match="nosuch://x/y can't be read"):
        get("c", "nosuch://x/y", sha(b"c"))
    with pytest.raises(ValueError, match="names the host 'elsewhere'"):
        get("d", "file://elsewhere/etc/hostname", sha(b"d"))
    with pytest.raises(ValueError, match="more than the 3 bytes allowed"):
        get("e", (folder / "a.txt").as_uri(), sha(b"e"), max_bytes=3)


def test_a_pipe_without_a_writer_times_out(get: Get, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TimeoutError, match="pipe gave nothing"):
        get("a", (tmp_path / "pipe").as_uri(), sha(b"a"), timeout_s=0.1, attempts=1)


def test_own_files_need_no_hash(get: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/own").mkdir(parents=True)
    Path("data/own/mine.txt").write_bytes(b"mine")
    assert get("a.txt", "data/own/mine.txt", None) == Fetched("a.txt", 4, sha(b"mine"), "own")
    assert (tmp_path / "raw" / "a.txt").read_bytes() == b"mine"
    Path("data/own/mine.txt").write_bytes(b"changed")
    assert get("a.txt", "data/own/mine.txt", None).bytes == 7
    with pytest.raises(ValueError, match="expected"):
        get("a.txt", "data/own/mine.txt", sha(b"mine"))
    with pytest.raises(ValueError, match="does not exist"):
        get("a.txt", "data/own/nothing.txt", None)
    assert left(tmp_path / "cache" / "partial") == []
    for outside in ("data/own/../secret", "/etc/hostname", "data/owner/x", "data/own"):
        with pytest.raises(ValueError, match="nor a path under"):
            get("a.txt", outside, None)


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "a\\b", ".hidden", "a\0b", "a\nb", "a" * 201])
def test_names_stay_in_the_folder(get: Get, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is not allowed"):
        get(name, "http://127.0.0.1:9/a", sha(b"a"))
    assert left(tmp_path) == []


def test_a_hash_is_needed_and_must_look_like_one(get: Get) -> None:
    with pytest.raises(ValueError, match="needs its sha256"):
        get("a", "http://127.0.0.1:9/a", None)
    with pytest.raises(ValueError, match="64 lower-case hexadecimal digits"):
        get("a", "http://127.0.0.1:9/a", "ABC")


def test_a_link_in_the_folder_is_replaced_not_written_through(get: Get, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"text")
    (tmp_path / "outside").write_bytes(b"precious")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a").symlink_to(tmp_path / "outside")
    get("a", (tmp_path / "a.txt").as_uri(), sha(b"text"))
    assert (tmp_path / "outside").read_bytes() == b"precious" and not (tmp_path / "raw" / "a").is_symlink()
