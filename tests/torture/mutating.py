"""Seeded random mutations of one kind of input file, in a process of its own: no crash, hang or huge allocation.

    python -m tests.torture.mutating KIND COUNT [--seed 7] [--only NUMBER]      prints {"tried", "past", …} as JSON

Each file is made whole once, then damaged in COUNT ways: its bytes (flips, cuts, lies about lengths) or, where it has
a structure, its tree (values of other types, numbers without measure, deep nesting, keys that come twice). The first
check of a kind is what its format asks (UTF-8, JSON, YAML, a header that parses). Mutants that pass it are counted, and
are the parents of some of the next; ways of mutating that lead past it are taken the more often. A mutant must give a
right result (the kind says what that is) or a ValueError that names the file. Anything else ends the process with
status 1 and the mutant's number, which `--only` repeats.

The process may not take more than `ROOM` bytes of address space beyond what it has when everything is loaded, and a
mutant not more than `PATIENCE_S` processor seconds.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from types import FrameType

from tests.torture.kinds import KINDS, Kind
from tests.torture.mutators import MUTATORS, Mutator

ROOM = 1 << 29
PATIENCE_S = 10.0
KEPT = 64  # parents


class Hang(BaseException):
    """Too much processor time; no ValueError, so that no code under test takes it for one."""


class Campaign:
    """The mutants of one kind, one after the other; what happened is in `counts`."""

    def __init__(self, kind: Kind, seed: int, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self.random = random.Random(f"{seed} {kind.name}")
        kind.make(folder)
        self.whole = {name: (folder / name).read_bytes() for name in kind.files}
        self.parents: dict[str, list[bytes]] = {name: [] for name in kind.files}
        self.mutators = [mutator for mutator in MUTATORS if mutator.format in ("bytes", *kind.formats)]
        self.tried: Counter[str] = Counter()
        self.led_past: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def step(self, look: bool = True) -> None:
        """One mutant; `look`: whether the code sees it, too (all are drawn, so that numbers stay what they are)."""
        name = self.random.choice(self.kind.files)
        mutators = [mutator for mutator in self.mutators if mutator.fits(name)]
        weights = [(self.led_past[m.name] + 1) / (self.tried[m.name] + 2) for m in mutators]
        mutator: Mutator = self.random.choices(mutators, weights)[0]
        parents = self.parents[name]
        parent = self.random.choice(parents) if parents and self.random.random() < 0.3 else self.whole[name]
        mutant = mutator.apply(parent, self.random)
        past = self.kind.first_check(name, mutant)
        self.tried[mutator.name] += 1
        self.led_past[mutator.name] += past
        self.counts["tried"] += 1
        self.counts["past"] += past
        if past and len(mutant) < 4 * len(self.whole[name]) + 4096:
            parents.append(mutant)
            if len(parents) > KEPT:
                del parents[self.random.randrange(KEPT)]
        if look:
            (self.folder / name).write_bytes(mutant)
            try:
                self.counts[self.outcome(name)] += 1
            finally:
                (self.folder / name).write_bytes(self.whole[name])

    def outcome(self, name: str) -> str:
        """refused | right. AssertionError where neither is true."""
        signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE_S)
        try:
            self.kind.read(self.folder)
        except ValueError as error:
            assert not isinstance(error, UnicodeError) and str(error).strip(), f"no sentence: {error!r}"
            named = any(str(self.folder / file) in str(error) for file in self.kind.files)
            assert named, f"the error names no file: {type(error).__name__}: {error}"
            assert len(str(error)) < 20_000, f"the error is {len(str(error)):,} characters long"
            return "refused"
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        return "right"


def address_space() -> int:
    """Bytes that the process has mapped now (Linux)."""
    pages = Path("/proc/self/statm").read_text().split()[0]
    return int(pages) * resource.getpagesize()


def hang(number: int, frame: FrameType | None) -> None:
    raise Hang(f"more than {PATIENCE_S:g} processor seconds")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.mutating")
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", type=int, help="look at this mutant alone")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGVTALRM, hang)
    with tempfile.TemporaryDirectory() as scratch:
        campaign = Campaign(KINDS[options.kind], options.seed, Path(scratch))
        campaign.kind.read(Path(scratch))  # whole, it is read; and all libraries are there
        if sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_AS, (address_space() + ROOM, resource.RLIM_INFINITY))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(options.count):
            try:
                campaign.step(look=options.only in (None, number))
            except BaseException as error:
                print(f"{options.kind} --seed {options.seed} --only {number}: {type(error).__name__}", file=sys.stderr)
                raise
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({**campaign.counts, "grown_kb": grown}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
