"""The models as one local page: ask the assistant, let the base model write on, classify messages.

    make app        (python -m serving.app --port 8501 --weights int8)

Built with NiceGUI, an optional extra. It listens on 127.0.0.1 only, refuses requests that name another host (a page
elsewhere can point a name of its own at this address) and sockets that other pages open, and loads nothing from
elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from contextlib import suppress
from pathlib import Path

from serving.shelf import WEIGHTS, Shelf

HOST, PORT = "127.0.0.1", 8501
CSS = Path(__file__).with_name("app.css")


def main(argv: list[str] | None = None) -> int:
    about = argparse.ArgumentParser(prog="python -m serving.app", description="The models as one local page.")
    about.add_argument("--port", type=int, default=PORT, help=f"where to listen on {HOST} ({PORT})")
    about.add_argument("--weights", choices=WEIGHTS, default=WEIGHTS[0], help="how what writes holds its weights")
    options = about.parse_args(argv)
    port = options.port
    try:
        check_free(port)
        with suppress(KeyboardInterrupt):  # the server has ended by then
            serve(port, options.weights)
    except ImportError as error:
        print(f"error: the page's library is missing ({error}): `make app` installs it", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def check_free(port: int) -> None:
    """ValueError when nobody can listen on the port."""
    if not 1 <= port <= 65_535:
        raise ValueError(f"port is {port}: 1 to 65535 are allowed")
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that just ended doesn't count
        try:
            trial.bind((HOST, port))
        except OSError as error:
            raise ValueError(f"port {port} can't be used ({error.strerror}): take another with --port") from None


def serve(port: int, weights: str) -> None:
    """Until Ctrl-C."""
    from nicegui import app, core, ui
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    core.sio.eio.cors_allowed_origins = None  # by default NiceGUI lets every page of every site open a socket
    app.on_startup(lambda: announce(port))
    shelf = Shelf(weights=weights)
    ui.run(
        lambda: page(shelf),
        host=HOST,
        port=port,
        title="Scriptorium",
        favicon="📜",
        language="en-US",
        tailwind=False,
        reload=False,
        show=False,
        show_welcome_message=False,
    )


async def announce(port: int) -> None:
    """Say where the page is as soon as it can be opened: what starts up is called before the server listens."""
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(HOST, port)
            break
        await asyncio.sleep(0.02)
    writer.close()
    print(f"The models' page: http://{HOST}:{port} (Ctrl-C ends it)", flush=True)


def page(shelf: Shelf) -> None:
    from nicegui import ui

    from serving.app_parts import AssistantPart, ClassifyPart, CompletePart

    ui.add_css(CSS)
    ui.colors(primary="#4f46e5")
    parts = {"Ask": AssistantPart, "Complete": CompletePart, "Classify": ClassifyPart}
    with ui.element("header"):
        ui.label("Scriptorium").classes("name")
        ui.label("a small GPT, trained on this machine").classes("motto")
        with ui.tabs().props("no-caps inline-label indicator-color=primary") as tabs:
            for name in parts:
                ui.tab(name)
    with ui.tab_panels(tabs, value="Ask", animated=False, keep_alive=True).classes("panels"):
        for name, part in parts.items():
            with ui.tab_panel(name):
                part(shelf)


if __name__ == "__main__":
    sys.exit(main())
