"""The lock file of followed sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.followed import entry_of, locked_hash, read_lock, write_lock
from pipeline.schema import SourceFile

HASH = "a" * 64


def source(url: str = "https://example.org/news.txt", member: str | None = None) -> SourceFile:
    return SourceFile(name="news.txt", url=url, sha256=None, member=member)


def test_what_is_written_is_read_and_counts_for_the_same_place_only(tmp_path: Path) -> None:
    assert read_lock(tmp_path) == {}
    write_lock({"text/news.txt": entry_of(source(), HASH)}, tmp_path)
    lock = read_lock(tmp_path)
    assert locked_hash(lock, "text/news.txt", source()) == HASH
    assert locked_hash(lock, "text/news.txt", source("https://example.org/other.txt")) is None
    assert locked_hash(lock, "text/news.txt", source(member="news.txt")) is None
    assert locked_hash(lock, "messages/news.txt", source()) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"text/news.txt": {"sha256": "short"}}', '{"text/news.txt": 1}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "sources.lock.json").write_text(text)
    with pytest.raises(ValueError, match=r"sources\.lock\.json (is not valid JSON|must map)"):
        read_lock(tmp_path)


def test_the_project_s_own_lock_is_empty() -> None:
    assert read_lock(Path(__file__).resolve().parents[2]) == {}
