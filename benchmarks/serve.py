"""How many requests a second the served champions answer, and how long each takes.

    python -m benchmarks.serve [assistant] [--requests 200] [--concurrency 1 4 8]      (make bench-serve)

Starts the servers as `make serve` does, sends a bounded number of requests over as many connections as asked for, and
ends them. Each connection sends its next request when the last is answered: latency is what a caller would see.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flows.serve import PORTS, Served, serving
from flows.services import HOST

MOST_REQUESTS, MOST_CONNECTIONS = 10_000, 64
ANSWERED_WITHIN_S = 120.0
WARM_UP = 3
PROMPTS = {
    "assistant": ("data/samples/instructions/validation.jsonl", ("instruction", "input")),
    "classifier": ("data/samples/messages/validation.jsonl", ("text",)),
}


@dataclass
class Load:
    """What came of a load: each answer's seconds, how many were refused, and the whole's seconds."""

    latencies: list[float] = field(default_factory=list)
    refused: int = 0
    seconds: float = 0.0

    def row(self, concurrency: int) -> list[str]:
        times = [self.percentile(share) * 1000 for share in (0.5, 0.95, 0.99)]
        rate = len(self.latencies) / self.seconds
        return [str(concurrency), f"{rate:.1f}", *(f"{value:.0f} ms" for value in times), str(self.refused)]

    def percentile(self, share: float) -> float:
        """The least latency that at least this share of the answers did not exceed."""
        ordered = sorted(self.latencies)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def bodies(short: str, root: Path = Path()) -> list[bytes]:
    """A request's body for each validation item of the workspace: one prompt, greedy. ValueError without any."""
    place, columns = PROMPTS[short]
    if not (root / place).is_file():
        raise ValueError(f"{place} is missing: `make run` makes it")
    rows = [json.loads(line) for line in (root / place).read_text(encoding="utf-8").splitlines()]
    return [json.dumps({"dataframe_records": [{name: row[name] for name in columns}]}).encode() for row in rows]


def load(port: int, payloads: Sequence[bytes], requests: int, concurrency: int) -> Load:
    """Send so many requests over so many connections, the payloads in turn."""
    found, lock, numbers = Load(), threading.Lock(), iter(range(requests))

    def caller() -> None:
        connection = http.client.HTTPConnection(HOST, port, timeout=ANSWERED_WITHIN_S)
        for number in _taken(numbers, lock):
            began = time.monotonic()
            connection.request(
                "POST", "/invocations", payloads[number % len(payloads)], {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            answer.read()
            with lock:
                found.latencies.append(time.monotonic() - began)
                found.refused += answer.status != 200
        connection.close()

    began = time.monotonic()
    threads = [threading.Thread(target=caller) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.seconds = time.monotonic() - began
    if len(found.latencies) < requests:
        raise ValueError(f"{requests - len(found.latencies)} of {requests} requests got no answer from port {port}")
    return found


def _taken(numbers: Iterator[int], lock: threading.Lock) -> Iterator[int]:
    while True:
        with lock:
            number = next(numbers, None)
        if number is None:
            return
        yield number


def report(served: Served, requests: int, concurrencies: Sequence[int]) -> None:
    payloads = bodies(served.service.name)
    load(served.port, payloads, WARM_UP, 1)
    print(f"\n{served.version}, {requests} requests at each concurrency\n")
    print("| connections | requests/s | median | 95 % | 99 % | refused |\n|---|---|---|---|---|---|")
    for concurrency in concurrencies:
        print(f"| {' | '.join(load(served.port, payloads, requests, concurrency).row(concurrency))} |", flush=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="*", default=list(PORTS), help=f"of {', '.join(PORTS)}; both by default")
    parser.add_argument("--requests", type=int, default=200, help=f"at each concurrency, at most {MOST_REQUESTS}")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 4, 8], help="connections, one round each")
    parser.add_argument("--workers", type=int, default=1, help="processes a model")
    options = parser.parse_args(arguments)
    try:
        if unknown := sorted(set(options.models) - set(PORTS)):
            raise ValueError(f"{unknown[0]!r} is not served: {', '.join(PORTS)} are")
        if not 1 <= options.requests <= MOST_REQUESTS:
            raise ValueError(f"--requests is {options.requests}: 1 to {MOST_REQUESTS} are allowed")
        if not all(1 <= number <= MOST_CONNECTIONS for number in options.concurrency):
            raise ValueError(f"--concurrency is {options.concurrency}: 1 to {MOST_CONNECTIONS} are allowed")
        for short in options.models:
            with serving([short], options.workers) as started:
                report(started[0], options.requests, options.concurrency)
    except (ValueError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
