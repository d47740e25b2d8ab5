"""The two servers in the background, on 127.0.0.1 only: Prefect's, which a flow starts by itself, and MLflow's UI.

    python -m flows.services start | stop | status | ui          (make ui, make stop)

Each has a HOME/NAME/server.json: process, when it was created, port. A server is ours only if exactly that process
lives: whatever else answers on a port, another project's Prefect on 4200, is never used and never stopped.
PREFECT_PORT and MLFLOW_PORT choose ports. PREFECT_API_URL, or an http MLFLOW_TRACKING_URI, name servers elsewhere: then
none is started here. Imports neither Prefect nor MLflow, whose settings have to be in place before.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from pipeline import database, paths, store
from pipeline.files import write_json
from pipeline.locks import hold

HOST = "127.0.0.1"
PREFECT_DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
BUSY_FOR_S = 30.0
READY_WITHIN_S = 120.0  # 5–7 s when the disk's cache is warm, 18 s and more when it is cold


@dataclass(frozen=True)
class Service:
    """A server: its name, which variable sets its port and what that is by default, where it says that it is well.

    `flexible`: when nobody asked for a port and the customary one is taken, any other will do.
    """

    name: str
    port_variable: str
    port: int
    health: str
    command: Callable[[int], list[str]]
    flexible: bool = False
    page: str = ""  # where a person wants to begin

    @property
    def folder(self) -> Path:
        return paths.home() / self.name

    @property
    def log(self) -> Path:
        return self.folder / "server.log"


@dataclass(frozen=True)
class Running:
    """The process behind a server.json; `home` tells a copied folder from the original."""

    pid: int
    created: float
    port: int
    home: str

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def process(self) -> psutil.Process | None:
        """The process, if it still is the one that was started (numbers are used again)."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < 1.0 and self.home == str(paths.home())
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def _prefect_command(port: int) -> list[str]:
    return [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]


def _mlflow_command(port: int) -> list[str]:
    data = ["--default-artifact-root", paths.artifacts()]
    return [sys.executable, "-m", "mlflow", "server", *data, "--host", HOST, "--port", str(port), "--workers", "1"]


PREFECT = Service("prefect", "PREFECT_PORT", 4200, "/api/health", _prefect_command, flexible=True)
RUNS = "/#/experiments/1/runs?workflowType=machine_learning"  # of our database: MLflow's front page is about agents
MLFLOW = Service("mlflow", "MLFLOW_PORT", 5000, "/health", _mlflow_command, page=RUNS)


def configure() -> None:
    """Set what Prefect and MLflow read from the environment. Must run before either is imported; what is set stays."""
    home = paths.home()
    settings = {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # 20 s by default: too short when cold
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(home / "prefect" / "storage"),
        **store.QUIET,
    }
    if sys.stderr.isatty():  # there, the flow draws bars and says what matters itself; the log is on Prefect's page
        settings["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)  # Prefect itself would not make its parents


def running(service: Service) -> Running | None:
    """Our server if it lives and answers."""
    found = _remembered(service)
    return found if found is not None and found.process() is not None and answers(service, found.port) else None


def is_ours(service: Service) -> bool:
    """Whether the process of our server lives, be it well or not."""
    found = _remembered(service)
    return found is not None and found.process() is not None


def start(service: Service, where_it_was: bool = False) -> str:
    """Start the server or find it running; its address.

    where_it_was: on the port used last and no other, for clients that know its address.
    ValueError: the port is taken, or its database does not answer. TimeoutError: it won't start.
    """
    if elsewhere := _elsewhere(service):
        return elsewhere
    with hold(f"service-{service.name}", timeout_s=READY_WITHIN_S):
        asked = _asked_port(service)
        if where_it_was and (last := _remembered(service)):
            asked = last.port
        if found := _living(service):
            if asked not in (None, found.port):
                raise ValueError(
                    f"{service.name} runs on port {found.port} already, {service.port_variable} asks for {asked}: "
                    "end it with `make stop` first"
                )
            return found.url
        port = _port(service, asked)
        if service is PREFECT:
            database.check(os.environ.get(PREFECT_DATABASE, ""), PREFECT_DATABASE)
        if service is MLFLOW:
            store.store(store.tracking_uri())  # its server and a stage must not both create the database
        return _launch(service, port).url


def stop(service: Service) -> bool:
    """End our server and its children; whether there was one. Nothing else is touched."""
    found = _remembered(service)
    process = found.process() if found is not None else None
    if process is not None:
        family = [process, *process.children(recursive=True)]
        for member in family:
            _signal(member.terminate)
        _, alive = psutil.wait_procs(family, timeout=10.0)
        for member in alive:
            _signal(member.kill)
    return process is not None


def ui() -> dict[str, str]:
    """Both user interfaces, started side by side; {name: address of the page to begin with}."""
    services = (MLFLOW, PREFECT)
    with ThreadPoolExecutor() as pool:
        addresses = pool.map(start, services)
        return {of.name: _page(of, address) for of, address in zip(services, addresses, strict=True)}


def prefect_api() -> str:
    """Where Prefect's API answers: PREFECT_API_URL exactly as named, else our server, started if need be."""
    return _elsewhere(PREFECT) or f"{start(PREFECT)}/api"


def _page(service: Service, address: str) -> str:
    return address.removesuffix("/api") if _elsewhere(service) else address + service.page


def _living(service: Service) -> Running | None:
    """Our server. One that does not answer at once may be busy; one that never does is ended."""
    found = _remembered(service)
    if found is None or found.process() is None:
        return None
    deadline = time.monotonic() + BUSY_FOR_S
    while not answers(service, found.port):
        if time.monotonic() > deadline:
            stop(service)
            return None
        time.sleep(0.1)
    return found


def _launch(service: Service, port: int) -> Running:
    print(f"starting {service.name} on {HOST}:{port} (some seconds)", file=sys.stderr, flush=True)
    service.folder.mkdir(parents=True, exist_ok=True)
    with service.log.open("wb") as log:
        process = subprocess.Popen(
            service.command(port),
            # a database's address may have a password, and every user of a machine can read command lines
            env={**os.environ, "MLFLOW_BACKEND_STORE_URI": store.tracking_uri()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # it outlives the terminal, and Ctrl-C does not reach it
        )
    started = Running(process.pid, psutil.Process(process.pid).create_time(), port, str(paths.home()))
    write_json(service.folder / "server.json", asdict(started))
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        if answers(service, port):
            return started
        time.sleep(0.1)
    stop(service)
    raise TimeoutError(f"{service.name} did not start on {HOST}:{port}; its last words are in {service.log}")


def _port(service: Service, asked: int | None) -> int:
    """The port asked for; else the one used last; else the customary one; else, if flexible, any that is free."""
    if asked is None and service.flexible:
        last = _remembered(service)
        usual = [last.port] if last is not None else []
        return next((port for port in [*usual, service.port] if _free(port)), 0) or _any_free_port()
    port = asked or service.port
    if not _free(port):
        raise ValueError(
            f"port {port} on {HOST}, meant for {service.name}, is in use by another program: "
            f"set {service.port_variable} to a free one"
        )
    return port


def port_of(service: Service) -> int:
    """The free port that the service would take now. ValueError when the one that is asked for isn't free."""
    return _port(service, _asked_port(service))


def _asked_port(service: Service) -> int | None:
    text = os.environ.get(service.port_variable, "")
    if text and not (text.isdigit() and 0 < int(text) < 65536):
        raise ValueError(f"{service.port_variable} is {text!r}: allowed are 1 to 65535")
    return int(text) if text else None


def _elsewhere(service: Service) -> str | None:
    """The address of a server that the person has named, of Prefect's that of its API."""
    if service is PREFECT:
        return os.environ.get("PREFECT_API_URL") or None
    uri = store.tracking_uri()
    return uri if uri.startswith(("http:", "https:")) else None


def _remembered(service: Service) -> Running | None:
    try:
        return Running(**json.loads((service.folder / "server.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def answers(service: Service, port: int) -> bool:
    """Whether something on the port says that it is well, where the service would."""
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
        with opener.open(f"http://{HOST}:{port}{service.health}", timeout=2.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _any_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _signal(send: Callable[[], None]) -> None:
    try:
        send()
    except psutil.NoSuchProcess:
        return


def main(arguments: list[str]) -> int:
    """The command line; exit status 1 with one sentence when something can't be done."""
    parser = argparse.ArgumentParser(prog="python -m flows.services", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("action", choices=["start", "stop", "status", "ui"])
    action = parser.parse_args(arguments).action
    configure()
    try:
        if action == "start":
            print(f"prefect: {start(PREFECT)}")
        elif action == "ui":
            for name, address in ui().items():
                print(f"{name:8} {address}")
            print("`make stop` ends them.")
        else:
            for service in (MLFLOW, PREFECT):
                found = running(service)
                if action == "stop":
                    print(f"{service.name:8} {'stopped' if stop(service) else 'was not running'}")
                else:
                    print(f"{service.name:8} {found.url if found else 'not running'}")
    except (ValueError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
