"""What the tests of the record share."""

from __future__ import annotations

import pytest

from pipeline.store import store


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for all tests: making one takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRIPTORIUM_HOME", str(folder))
        return store(f"sqlite:///{folder}/mlflow.db").uri
