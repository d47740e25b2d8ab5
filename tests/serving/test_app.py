"""The page, in a real browser: what it shows is what the models say, and it talks to nobody else."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from serving.app import HOST, main
from serving.complete import behind
from serving.session import share, visible
from serving.shelf import Shelf
from tests.listening import all_loopback, listening
from tests.serving.browsing import PATIENCE_MS, chromium, headless_browser, open_part, running_app
from tests.serving.conftest import TASKS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MESSAGE = "Win a free prize by the river!"


@pytest.fixture(scope="module")
def address(workspace: Path) -> Iterator[str]:
    pytest.importorskip("nicegui", reason="the page's library is not installed: `make app` does it")
    with running_app(workspace) as where:
        yield where


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    pytest.importorskip("playwright", reason="the browser's driver is not installed: `make test` does it")
    if chromium() is None:
        pytest.skip("no Chromium on this machine")
    with headless_browser() as found:
        yield found


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The open page; afterwards nothing may have gone wrong in it, and nothing been asked of anyone else."""
    tab = browser.new_page()
    tab.set_default_timeout(PATIENCE_MS)
    asked: list[str] = []
    wrong: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("websocket", lambda opened: asked.append(opened.url))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    tab.goto(address)
    yield tab
    tab.close()
    own = urlsplit(address).netloc
    assert {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))} == {own}
    assert not wrong


@pytest.fixture(scope="module")
def shelf(workspace: Path) -> Shelf:
    return Shelf(workspace)


def shown(text: str) -> str:
    """As a browser renders it: runs of blanks are one, and what isn't printed isn't there."""
    return " ".join("".join(c for c in text if c.isprintable() or c.isspace()).split())


def texts(page: Page, selector: str) -> list[str]:
    return [shown(text) for text in page.locator(f"{selector}:visible").all_text_contents()]


def test_an_example_is_asked_and_its_answer_compared(page: Page, shelf: Shelf) -> None:
    page.get_by_role("button", name="Who sees the dog?").click()
    page.locator(".verdict").wait_for()
    (answer,) = shelf.assistant.answers([(TASKS[2]["instruction"], TASKS[2]["input"])])
    assert texts(page, ".answer") == [shown(answer or "(no answer)")]
    assert "The cat." in page.locator(".verdict").inner_text()


def test_an_own_instruction_is_answered_and_one_too_long_is_refused(page: Page, shelf: Shelf) -> None:
    question = page.get_by_label("Instruction")
    question.fill("Call me.")
    question.press("Enter")
    page.wait_for_function("document.querySelector('input').value === ''")
    (answer,) = shelf.assistant.answers([("Call me.", "")])
    assert texts(page, ".answer") == [shown(answer or "(no answer)")]
    question.fill("§" * 200)
    page.get_by_role("button", name="Ask").click()
    page.locator(".answer.wrong").wait_for()
    assert re.search(r"the prompt has \d+ tokens", page.locator(".answer.wrong").inner_text())


def test_bars_show_what_could_come_next_and_a_click_writes_it(page: Page, shelf: Shelf) -> None:
    open_part(page, "Complete")
    text = page.get_by_label("Text")
    for value in ("The cat", "The cat sees "):
        text.fill(value)
        likeliest = shelf.writer.next_tokens(value)
        page.locator(".next .value", has_text=share(likeliest[0][1])).first.wait_for()
        assert texts(page, ".next .value") == [share(probability) for _, probability in likeliest]
        assert texts(page, ".next .name") == [shown(visible(token)) for token, _ in likeliest]
    token = next(token for token, _ in likeliest if token.isprintable() and "\ufffd" not in token and "<" not in token)
    page.locator(".next .bar").nth([token for token, _ in likeliest].index(token)).click()
    page.wait_for_function("text => document.querySelector('textarea.page').value !== text", arg=value)
    assert text.input_value() == value + "".join(behind(value, [token]))


def test_the_base_model_writes_on(page: Page) -> None:
    open_part(page, "Complete")
    text = page.get_by_label("Text")
    page.get_by_role("button", name="The cat sees the dog").click()
    page.get_by_role("button", name="Write on").click()
    page.wait_for_function("document.querySelector('textarea.page').value.length > 30")
    page.get_by_role("button", name="Write on").wait_for()  # it has come to an end
    assert text.input_value().startswith("The cat sees the dog")


def test_both_classifiers_show_their_confidence(page: Page, shelf: Shelf) -> None:
    open_part(page, "Classify")
    page.get_by_label("Message").fill(MESSAGE)
    for number, classifier in enumerate((shelf.classifier, shelf.lora)):
        card = page.locator(".even .card").nth(number)
        row = sorted(classifier.probabilities([MESSAGE])[0].tolist(), reverse=True)
        card.locator(".value", has_text=share(row[0])).first.wait_for()
        assert card.locator(".value:visible").all_inner_texts() == [share(probability) for probability in row]
        assert card.locator(".label").inner_text() == classifier.classify([MESSAGE])[0]


def test_without_models_the_page_says_how_to_make_them(browser: Browser, address: str, tmp_path: Path) -> None:
    with running_app(tmp_path) as empty:
        tab = browser.new_page()
        tab.goto(empty)
        for name, folder in (
            ("Ask", "models/assistant/pretrained"),
            ("Complete", "models/base"),
            ("Classify", "models/classifier/pretrained"),
        ):
            open_part(tab, name)
            assert texts(tab, ".note") == [f"{folder} is missing: `make run` makes it"]
        tab.close()
    assert not list(tmp_path.iterdir())


def test_other_hosts_and_other_sites_are_refused(address: str) -> None:
    def status(path: str, **headers: str) -> int:
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
        connection.request("GET", path, headers=headers)
        found = connection.getresponse().status
        connection.close()
        return found

    socket_path = "/_nicegui_ws/socket.io/?EIO=4&transport=polling"
    assert status("/") == status("/", Host="localhost") == 200
    assert status("/", Host="attacker.example") == 400
    assert status(socket_path) == status(socket_path, Origin=address) == 200
    assert status(socket_path, Origin="http://attacker.example") == 400
    assert status(socket_path, Host="attacker.example", Origin="http://attacker.example") == 400


def test_a_port_that_cannot_be_used_takes_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    assert re.fullmatch(
        rf"error: port {port} can't be used \(.+\): take another with --port\n", capsys.readouterr().err
    )
    assert main(["--port", "0"]) == 1
    assert capsys.readouterr().err == "error: port is 0: 1 to 65535 are allowed\n"


def test_it_listens_on_the_loopback_only(address: str) -> None:
    sockets = listening()
    assert int(address.rpartition(":")[2]) in sockets and all_loopback(sockets)
