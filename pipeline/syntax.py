"""Comments are not inputs: which versions of a code file are the same program.

DVC compares files by their md5. Beside that, the ledger remembers the digest of each version's syntax tree, without
docstrings: {md5, syntax}. Two versions with one digest differ in comments, docstrings or formatting alone. A version
that the ledger does not know is another program.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

from pipeline import ledger
from pipeline.files import md5_bytes

SELF_READING = {"__doc__", "inspect", "getsource", "currentframe", "co_firstlineno", "tb_lineno", "f_lineno"}


def syntax_digest(source: bytes) -> str:
    """32 hex characters for the program in `source`; for what is no Python, or looks at its own text, for its bytes."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _hash(source)
    if any(_name_of(node) in SELF_READING for node in ast.walk(tree)):
        return _hash(source)
    shown = ast.dump(_WithoutTexts().visit(tree))
    return _hash(f"{sys.version_info[:2]} {shown}".encode())  # another Python may parse, or show, it differently


def remember(files: Iterable[Path | str]) -> None:
    """Note in the ledger what the Python files among these are, as they lie there now."""
    known = known_versions()
    for file in files:
        if str(file).endswith(".py"):
            source = Path(file).read_bytes()
            md5 = md5_bytes(source)
            if md5 not in known:
                known[md5] = syntax_digest(source)
                ledger.append({"md5": md5, "syntax": known[md5]})


def known_versions() -> dict[str, str]:
    """md5 → syntax digest, of every version that the ledger has."""
    return {entry["md5"]: entry["syntax"] for entry in ledger.entries() if "md5" in entry and "syntax" in entry}


class _WithoutTexts(ast.NodeTransformer):
    """Drops every statement that is only a string: docstrings, and texts below fields."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if text else self.generic_visit(node)


def _name_of(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.alias):
        return node.name
    return node.id if isinstance(node, ast.Name) else ""


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
