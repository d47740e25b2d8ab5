"""What the tests share: where the real input files are, and a home of their own for everything that is written."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # `make test &`: what the tests start would be deaf to it, too
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder with the real input files, as SCRIPTORIUM_MIRROR names it; without one the test is skipped."""
    named = os.environ.get("SCRIPTORIUM_MIRROR", "")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not (folder / "the-verdict.txt").is_file():
        reason = f"no real input files: SCRIPTORIUM_MIRROR is {named!r} (set it to a folder that holds the-verdict.txt)"
        if os.environ.get("SCRIPTORIUM_REQUIRE_MIRROR"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder.resolve()
