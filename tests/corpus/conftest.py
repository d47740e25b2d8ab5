"""The web server that the transfer tests talk to, and a short way to fetch from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from corpus.sources import Fetched, Source, fetch
from tests.corpus.server import Hits, serving

# how long one example takes says nothing on a machine that others use, too
settings.register_profile("corpus", deadline=None)
settings.load_profile("corpus")


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hits]:
    """A running server; a proxy of the environment is not asked for it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    with serving() as hits:
        yield hits


@pytest.fixture
def get(tmp_path: Path) -> Callable[..., Fetched]:
    """`get(name, url, sha256)` into tmp_path/raw, with the cache in tmp_path/cache and hardly any waiting."""

    def get(name: str, url: str, sha256: str | None, member: str | None = None, **options: Any) -> Fetched:
        usual = {"mirror": None, "timeout_s": 5.0, "attempts": 3, "max_bytes": 1 << 24, "backoff_s": 0.01}
        return fetch(Source(name, url, sha256, member), tmp_path / "raw", cache=tmp_path / "cache", **usual | options)

    return get
