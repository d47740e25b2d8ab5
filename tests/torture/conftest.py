"""The long tests, which `make torture` runs and `make test` leaves out, and the figures that they end with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reads import record_all
from tests.tiny import make_workspace
from tests.torture.lives import reference

FIGURE = "figure: "


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """`figures("parameter leaves covered", "151 of 151")`: one line at the end of the run."""

    def note(name: str, value: object) -> None:  # travels with the test's report, from whatever process ran it
        request.node.user_properties.append((FIGURE + name, str(value)))

    return note


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny workspace after a run of everything that nothing disturbed; to be copied (`lives.copy_of`)."""
    return reference(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny workspace in which every stage has run, recorded by DVC. For copying: several tests start from it."""
    return record_all(make_workspace(tmp_path_factory.mktemp("trained")))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    called = [report for report in reports if report.when == "call"]
    said = {name: (report.fspath, value) for report in called for name, value in report.user_properties}
    figures = sorted((file, name, value) for name, (file, value) in said.items() if name.startswith(FIGURE))
    if figures:
        terminalreporter.section("torture")
    for _, name, value in figures:
        terminalreporter.line(f"{name.removeprefix(FIGURE)}: {value}")
