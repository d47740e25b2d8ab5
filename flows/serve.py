"""The champions over HTTP on 127.0.0.1: the assistant and the classifier, each a scoring server of MLflow.

    python -m flows.serve [--workers 1]          (make serve; ASSISTANT_PORT and CLASSIFIER_PORT choose ports)

Ctrl-C ends both. Each runs below `tasks/supervise.py`, whose lifeline this process holds: however this one ends (`kill
-9`, too), nothing is left behind. Which version answers is settled at the start: after a promotion, start again.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.services import HOST, READY_WITHIN_S, Service, answers, port_of
from pipeline import paths
from pipeline.store import QUIET, tracking_uri
from tasks.registry import CHAMPION, PREFIX, Version, named

GRACE_S = 10.0
POLL_S = 0.2
EXAMPLES = {
    "assistant": '{"inputs": ["What is the plural of cat?"], "params": {"temperature": 0.0, "seed": 0}}',
    "classifier": '{"inputs": ["Free entry: text WIN to claim your prize"], "params": {"probabilities": true}}',
}
PORTS = {"assistant": 5101, "classifier": 5102}


@dataclass(frozen=True)
class Served:
    """A version, where it answers, and the process that holds it."""

    version: Version
    service: Service
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/invocations"


def service_of(short: str, workers: int) -> Service:
    """How a champion is served; its port is the variable's, the customary one, or any that is free."""
    version = named(f"{PREFIX}{short}@{CHAMPION}")

    def command(port: int) -> list[str]:
        server = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
        where = ["-m", f"models:/{version.name}/{version.number}", "--host", HOST, "--port", str(port)]
        return [*server, *where, "--workers", str(workers)]

    return Service(short, f"{short.upper()}_PORT", PORTS[short], "/ping", command, flexible=True)


@contextmanager
def serving(shorts: list[str], workers: int = 1) -> Iterator[list[Served]]:
    """The champions' servers, answering, for the length of a `with`; none of their processes outlives it.

    ValueError: no champion, a port is taken, or too many workers. TimeoutError: a server does not come up.
    """
    most = os.cpu_count() or 1
    if not 1 <= workers <= most:
        raise ValueError(f"--workers is {workers}: 1 to {most} are allowed, as many as there are processors")
    started: list[Served] = []
    try:
        for short in shorts:
            service = service_of(short, workers)
            port = port_of(service)
            started.append(Served(named(f"{PREFIX}{short}@{CHAMPION}"), service, port, _launch(service, port)))
        for served in started:
            _await(served)
        yield started
    finally:
        for served in started:
            assert served.process.stdin is not None
            served.process.stdin.close()  # the lifeline
        for served in started:
            served.process.wait()


def _launch(service: Service, port: int) -> subprocess.Popen[bytes]:
    """The server below the supervisor, in a session of its own: Ctrl-C reaches this process alone, which ends it."""
    supervisor = Path(__file__).resolve().parent.parent / "tasks" / "supervise.py"
    command = [sys.executable, str(supervisor), "--grace", str(GRACE_S), "--", *service.command(port)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # MLflow looks for uvicorn there
    settings = {**QUIET, **os.environ, "PATH": path, "MLFLOW_TRACKING_URI": tracking_uri()}
    service.log.parent.mkdir(parents=True, exist_ok=True)
    with service.log.open("wb") as log:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=settings, start_new_session=True
        )


def _await(served: Served) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while not answers(served.service, served.port):
        if served.process.poll() is not None:
            raise ValueError(f"the server of {served.version} ended at once: {served.service.log} says why")
        if time.monotonic() > deadline:
            raise TimeoutError(f"the server of {served.version} does not answer: {served.service.log} may say why")
        time.sleep(POLL_S)


def main(arguments: list[str]) -> int:
    """0: ended by Ctrl-C or SIGTERM; 1: something is wrong, in one sentence."""
    parser = argparse.ArgumentParser(prog="python -m flows.serve", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="*", default=list(PORTS), help=f"of {', '.join(PORTS)}; both by default")
    parser.add_argument("--workers", type=int, default=1, help="processes a model, each with a copy of it")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if unknown := sorted(set(options.models) - set(PORTS)):
            raise ValueError(f"{unknown[0]!r} is not served: {', '.join(PORTS)} are")
        with serving(list(dict.fromkeys(options.models)), options.workers) as started:
            for served in started:
                print(f"{served.version}: {served.url}")
                print(f"  curl -H 'Content-Type: application/json' -d '{EXAMPLES[served.service.name]}' {served.url}")
            print("Ctrl-C ends them.", flush=True)
            while all(served.process.poll() is None for served in started):
                time.sleep(POLL_S)
        raise ValueError(f"a server ended by itself: {paths.home()} has their logs, NAME/server.log")
    except (ValueError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped")
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
