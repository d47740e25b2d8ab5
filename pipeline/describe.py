"""The parameters as Markdown tables, from the schema and the presets that `make run` starts with.

    python -m pipeline.describe pretrain      prints the table of a section (or of several, or of one leaf: seed)
    python -m pipeline.describe --docs        writes all of docs/ anew, between  <!-- parameters: … -->  and its end

Values come from the presets of `conf/` and never from `params.yaml`, so that no page goes stale when a person edits
that; a leaf that no preset sets has a dash.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.params import dump_yaml, leaves
from pipeline.preset import compose
from pipeline.schema import Params

DOCS = Path("docs")
PRESETS = {"data": "embedded", "model": "nano"}
HEAD = f"| parameter | {PRESETS['data']} + {PRESETS['model']} | allowed | meaning |\n|---|---|---|---|\n"
MARKED = re.compile(r"(<!-- parameters: (.+?) -->\n).*?(<!-- end of parameters -->)", re.DOTALL)
BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}

Node = Mapping[str, Any]


def table(*names: str) -> str:
    """The table of these sections or leaves. ValueError for a name that the schema doesn't know."""
    schema = Params.model_json_schema()
    values = leaves(compose({}, PRESETS))
    found: list[tuple[str, Node]] = []
    for name in names:
        if name not in schema["properties"]:
            raise ValueError(f"there is no parameter {name!r}: allowed are {', '.join(schema['properties'])}")
        found += nodes(schema, name, schema["properties"][name])
    listed = {items_of(node): path for path, node in reversed(found) if items_of(node)}  # the first list of each kind
    for reference, path in listed.items():
        found += nodes(schema, f"{path}[]", {"$ref": reference})
    rows = []
    for path, node in found:
        value = code(dump_yaml({"": values[path]}).split(":", 1)[1]) if path in values else "–"
        rows.append(f"| {code(path)} | {value} | {allowed(node)} | {plain(node.get('description', ''))} |\n")
    return HEAD + "".join(rows)


def nodes(schema: Node, path: str, node: Node) -> Iterator[tuple[str, Node]]:
    """(path, node) of every leaf at or below a node of the schema."""
    members = fields(schema, node)
    for name, member in members.items():
        yield from nodes(schema, f"{path}.{name}", member)
    if not members:
        yield path, node


def fields(schema: Node, node: Node) -> Mapping[str, Node]:
    """A section's members; none where the node is a leaf."""
    reference = node.get("$ref", "")
    members: Mapping[str, Node] = schema["$defs"][reference.rpartition("/")[2]]["properties"] if reference else {}
    return members


def items_of(node: Node) -> str:
    """Which section the items of a list are; empty where they are plain values."""
    return str(node.get("items", {}).get("$ref", ""))


def allowed(node: Node) -> str:
    """A leaf's type and bounds in words."""
    if "anyOf" in node:
        return " or ".join(allowed(choice) for choice in node["anyOf"])
    if "enum" in node:
        return ", ".join(map(code, node["enum"]))
    bounds = " and ".join(f"{sign} {number(node[name])}" for name, sign in BOUNDS.items() if name in node)
    if "minimum" in node and "maximum" in node:
        bounds = f"{number(node['minimum'])} to {number(node['maximum'])}"
    match node.get("type"):
        case "boolean":
            return f"{code('true')}, {code('false')}"
        case "integer":
            return f"whole number {bounds}".strip()
        case "number":
            return f"number {bounds}".strip()
        case "null":
            return code("null")
        case "array":
            least = f", {node['minItems']} or more" if "minItems" in node else ""
            return f"list of {'files' if items_of(node) else allowed(node['items'])}{least}"
        case "object":
            return f"names, each with a {allowed(node['additionalProperties'])}"
    return f"text like {code(node['pattern'])}" if "pattern" in node else "text"


def number(value: float) -> str:
    """1,000 and 0.5; the largest powers of two as such."""
    power = int(value).bit_length() - 1
    return f"2^{power}" if power > 50 and value == 2**power else f"{value:,.10g}"


def code(value: Any) -> str:
    return f"`{' '.join(str(value).split())}`".replace("|", "\\|")


def plain(text: str) -> str:
    """Text of which nothing works as markup in a table."""
    return re.sub(r"([|<*_])", r"\\\1", text)


def filled(page: str) -> str:
    """A page with every marked table as it should be."""
    return MARKED.sub(lambda found: found[1] + "\n" + table(*found[2].split()) + "\n" + found[3], page)


def write_docs() -> list[Path]:
    """Bring all pages up to date; returns those that changed."""
    pages = {file: file.read_text(encoding="utf-8") for file in sorted(DOCS.glob("*.md"))}
    changed = [file for file, page in pages.items() if filled(page) != page]
    for file in changed:
        file.write_text(filled(pages[file]), encoding="utf-8", newline="\n")
    return changed


def main(arguments: list[str]) -> int:
    try:
        if arguments == ["--docs"]:
            print("\n".join(f"{file}: written" for file in write_docs()) or "docs/ is up to date")
        elif arguments and not arguments[0].startswith("-"):
            print(table(*arguments), end="")
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
