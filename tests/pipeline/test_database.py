"""Addresses of databases, as people see them and as they go wrong; against a real server: tests/services/."""

from __future__ import annotations

import socket
import sys

import pytest

from pipeline.database import check
from pipeline.secrets import without_password


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:secret@db:5432/mlflow?sslpassword=secret", "postgresql://db:5432/mlflow"),
        ("postgresql://me:half@secret/half@db/mlflow", "postgresql://db/mlflow"),
        ("postgresql:me:secret@db/mlflow", "postgresql"),
        ("http://me:secret@server:5000", "http://server:5000"),
        ("https://server/mlflow", "https://server/mlflow"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
    ],
)
def test_people_see_no_password(address: str, shown: str) -> None:
    assert without_password(address) == shown


def test_what_is_no_postgresql_address_is_not_asked() -> None:
    for address in ("", "sqlite:////nowhere/mlflow.db", "http://127.0.0.1:1"):
        check(address, "MLFLOW_TRACKING_URI")


def test_what_is_wrong_is_one_sentence_that_names_variable_and_place() -> None:
    pytest.importorskip("psycopg2", reason="the clients of shared services are not installed: `make shared`")
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}/mlflow"
        with pytest.raises(ValueError, match=r"^MLFLOW_TRACKING_URI \(postgresql://127.*refused") as told:
            check(f"postgresql://me:secret@{place}", "MLFLOW_TRACKING_URI")
    assert "secret" not in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("address", ["postgresql://me:se@cret@db/mlflow", "postgresql://me:x@db:secret/mlflow"])
def test_an_address_that_is_none_shows_nothing_of_it(address: str) -> None:
    with pytest.raises(ValueError, match="X ") as told:
        check(address, "X")
    assert "se@cret" not in str(told.value) and "me:" not in str(told.value)


def test_without_the_client_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)  # to Python: not installed
    with pytest.raises(ValueError, match="`make shared` installs it"):
        check("postgresql://me:secret@127.0.0.1:1/mlflow", "MLFLOW_TRACKING_URI")
