"""Where the time of a benchmark's way goes, operator by operator.

    python -m benchmarks.profile benchmarks.training:ours shape_name=nano compiled=false optimizer=adamw packed=false

The arguments are those of the function, as JSON or plain words; `threads` is 2 unless it is given. Each call makes the
same operators in the same order; of each the least time over the calls is taken, so that whatever else the machine does
hardly shows.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile

from benchmarks.topics import THREADS

CALLS = 12
SHOWN = 25


def main(arguments: list[str]) -> int:
    if not arguments:
        print(f"usage: {(__doc__ or '').splitlines()[2].strip()}", file=sys.stderr)
        return 2
    work = build(*arguments)
    for _ in range(3):
        work()
    print(f"{least_seconds(work) * 1e3:.1f} ms a call, the least of {CALLS}; by operator, observed:")
    found = by_operator(work)
    whole = sum(found.values())
    for name, seconds in sorted(found.items(), key=lambda pair: -pair[1])[:SHOWN]:
        print(f"{seconds * 1e3:9.2f} ms {seconds / whole:6.1%}  {name}")
    print(f"{whole * 1e3:9.2f} ms  altogether")
    return 0


def build(target: str, *words: str) -> Callable[[], Any]:
    """The way that `MODULE:FUNCTION` makes of these name=value."""
    module, _, name = target.partition(":")
    function: Callable[..., Callable[[], Any]] = getattr(importlib.import_module(module), name)
    given = {key: value_of(text) for key, _, text in (word.partition("=") for word in words)}
    if "threads" in inspect.signature(function).parameters:
        given.setdefault("threads", THREADS)
    return function(**given)


def value_of(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def least_seconds(work: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(CALLS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def by_operator(work: Callable[[], Any]) -> dict[str, float]:
    """Seconds of each operator without those that it calls: the sum over its uses of the least that each use took."""
    calls: list[dict[str, list[float]]] = []
    for _ in range(CALLS):
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            work()
        times: dict[str, list[float]] = defaultdict(list)
        for event in seen.events() or ():
            times[event.name].append(event.self_cpu_time_total / 1e6)
        calls.append(times)
    found = {}
    for name, uses in calls[0].items():
        alike = [times[name] for times in calls if len(times[name]) == len(uses)]
        found[name] = sum(min(each) for each in zip(*alike, strict=True))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
