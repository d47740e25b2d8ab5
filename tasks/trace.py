"""Where a registered model comes from, back to every source file's hash; and its whole workspace again.

python -m tasks.trace scriptorium-assistant@champion [--checkout FOLDER]          (make lineage MODEL=… CHECKOUT=…)
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from tasks.checkout import SAME, check_out, in_words
from tasks.lineage import tree_of
from tasks.registry import named, recorded

UNFOLDED = 100_000  # columns: through a pipe, a line is a line


def main(arguments: list[str]) -> int:
    """0: shown, and what was checked out is the same; 1: it is not, or an input is wrong, in one sentence."""
    parser = argparse.ArgumentParser(prog="python -m tasks.trace", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", help="NAME@champion, NAME@challenger or NAME/2; NAME alone is its champion")
    parser.add_argument("--checkout", type=Path, metavar="FOLDER", help="make its workspace there, and check it")
    options = parser.parse_args(arguments)
    try:
        version = named(options.model)
        record = recorded(version)
        console = Console()
        if not console.is_terminal:
            console = Console(width=UNFOLDED)
        console.print(tree_of(version, record), highlight=False, soft_wrap=True)
        if options.checkout is None:
            return 0
        found = check_out(Path.cwd(), version.tags.get("git.commit", "unknown"), record, options.checkout)
        print(in_words(found, options.checkout, version.tags.get("git.dirty") == "true"))
        return 0 if all(each.state == SAME for each in found) else 1
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
