"""What a module's bytes can depend on: the files of our own packages that it imports, directly or through others.

`dvc.yaml` must list exactly these for every stage; a test compares, and  python -m pipeline.imports  prints them.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

INPUTS = ("stages", "gpt", "corpus")  # code that can change bytes; pipeline/ is bookkeeping


def imported_modules(file: Path) -> Iterator[str]:
    """Dotted names that the file imports, at any depth of its code; `from a import b` gives a and a.b."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), filename=str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def closure(module: str, root: Path = Path(), packages: tuple[str, ...] = INPUTS) -> list[str]:
    """Files of `packages` behind a module, itself included, as sorted paths relative to `root`.

    Packages' own `__init__.py` files are left out: they hold no code (the same test asserts it).
    """
    found: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        path = Path(*name.split(".")).with_suffix(".py")
        if name.split(".")[0] in packages and (root / path).is_file() and path.as_posix() not in found:
            found.add(path.as_posix())
            pending += imported_modules(root / path)
    return sorted(found)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(f"{name}:", *(f"      - {path}" for path in closure(f"stages.{name}")), sep="\n")
