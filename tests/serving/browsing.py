"""The page in a real headless browser, for its tests; and by hand, with the models at hand, its pictures for the docs:

python -m tests.serving.browsing docs          writes app-ask.png, app-complete.png, app-classify.png there
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ON_MACOS = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
PATIENCE_MS = 60_000  # the first answer waits for PyTorch to be loaded


def chromium() -> str | None:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    return found or (str(ON_MACOS) if ON_MACOS.exists() else None)


@contextmanager
def running_app(workspace: Path) -> Iterator[str]:
    """The address of the page of the models in `workspace`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("PYTEST_CURRENT_TEST", None)  # else NiceGUI takes the process for a test of its own
    command = [sys.executable, "-m", "serving.app", "--port", str(port)]
    with subprocess.Popen(command, cwd=workspace, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert "http" in (line := server.stdout.readline()), line
            yield f"http://127.0.0.1:{port}"
            server.send_signal(signal.SIGINT)  # Ctrl-C, which ends it quietly
            ended = (server.communicate(timeout=60)[0], server.returncode)
            assert ended == ("", 0), ended
        finally:
            server.kill()


@contextmanager
def headless_browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium has no sandbox for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        yield browser
        browser.close()


def open_part(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()
    page.wait_for_timeout(300)  # the line below the tab glides


def take_pictures(page: Page, folder: Path) -> None:
    """One of each part, with something in it."""
    examples = page.locator(".examples:visible button")
    for number in range(min(3, examples.count())):
        with_answers = page.locator(".verdict")
        examples.nth(number).click()
        with_answers.nth(number).wait_for(timeout=PATIENCE_MS)
    page.mouse.move(0, 0)
    page.screenshot(path=folder / "app-ask.png")
    open_part(page, "Complete")
    page.get_by_role("button", name="Write on").click()
    page.get_by_role("button", name="Stop").wait_for()
    page.get_by_role("button", name="Write on").wait_for(timeout=PATIENCE_MS)
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)
    page.screenshot(path=folder / "app-complete.png")
    open_part(page, "Classify")
    examples.nth(1).click()
    page.wait_for_timeout(2000)
    page.mouse.move(0, 0)
    page.screenshot(path=folder / "app-classify.png")


def main(folder: Path) -> None:
    with running_app(Path.cwd()) as address, headless_browser() as browser:
        page = browser.new_page(viewport={"width": 1100, "height": 720}, device_scale_factor=1.5)
        page.goto(address)
        page.wait_for_timeout(3000)
        take_pictures(page, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
