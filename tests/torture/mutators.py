"""Ways of damaging a file: its bytes, its lines, or the tree that it holds (JSON, YAML, a safetensors header)."""

from __future__ import annotations

import copy
import io
import json
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

SUFFIXES = {
    "json": (".json",),
    "jsonl": (".jsonl",),
    "yaml": (".yaml",),
    "safetensors": (".safetensors",),
    "lines": (".txt", ".tsv", ".jsonl", ".bpe", ".tiktoken", ".yaml"),
    "bytes": ("",),
}
NUMBERS = [0, -1, 1, 2, 3, 255, 256, 257, 2**31, 2**32, 2**63, 2**64, 10**30, 10**400, 0.5, -0.0, 1e-9, 1e300, 5e-324]
ODD_FLOATS = [float("nan"), float("inf"), float("-inf")]
STRINGS = [
    "",
    " ",
    "\0",
    "é",
    "\ufeff",
    "\u2028",
    "a" * 5000,
    "../../etc/passwd",
    "/etc/passwd",
    "true",
    "null",
    "1e5",
    "🙂",
]
REPEATING = ["(a+)+$", "(([a-z._0-9])+)+x", "[", "(.*)*y", "c_attn", "\\"]
VALUES: list[Any] = [
    None,
    True,
    False,
    [],
    {},
    [[]],
    [1, 2],
    [None],
    {"a": 1},
    *NUMBERS,
    *ODD_FLOATS,
    *STRINGS,
    *REPEATING,
]
PIECES = [
    b"\0", b"\xff", b"\xed\xa0\x80", b"\xf0\x9f\x99\x82", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\n", b"\n\n", b"\t",
    b'"', b"'", b" ", b"<|endoftext|>", b"\xc2\x85", b"\xe2\x80\xa8", b"\x1a", b"\xc2\xa0", b"{", b"}", b"[", b"]",
    b":", b"#", b"\t\t",
    b"&a ", b"*a", b"!!python/object/apply:os.system ", b"---\n", b"...\n", b"%YAML 1.1\n", b"? ", b"| ", b"> ",
    b"<<: ",
    b'\\ud800', b"NaN", b"1e999", b"-", b"\x7f", b"\x1b[2J",
]  # fmt: skip


@dataclass(frozen=True)
class Mutator:
    """`format`: which files it is for; `apply(content, random)` gives another content."""

    name: str
    format: str
    apply: Callable[[bytes, random.Random], bytes]

    def fits(self, name: str) -> bool:
        return name.endswith(SUFFIXES[self.format])


def flip(data: bytes, r: random.Random) -> bytes:
    """Some bits."""
    changed = bytearray(data)
    for _ in range(r.choice([1, 1, 2, 8])):
        if changed:
            changed[r.randrange(len(changed))] ^= 1 << r.randrange(8)
    return bytes(changed)


def cut(data: bytes, r: random.Random) -> bytes:
    """The end off, or a piece out of the middle."""
    first, last = sorted(r.randrange(len(data) + 1) for _ in range(2))
    return data[:first] if r.random() < 0.5 else data[:first] + data[last:]


def insert(data: bytes, r: random.Random) -> bytes:
    """Something that means something somewhere, or noise."""
    at = r.randrange(len(data) + 1)
    piece = r.choice(PIECES) * r.choice([1, 1, 1, 2, 300]) if r.random() < 0.9 else r.randbytes(r.randrange(1, 200))
    return data[:at] + piece + data[at:]


def double(data: bytes, r: random.Random) -> bytes:
    """A piece twice."""
    first, last = sorted(r.randrange(len(data) + 1) for _ in range(2))
    return data[:last] + data[first : min(last, first + 10_000)] + data[last:]


def nest(data: bytes, r: random.Random) -> bytes:
    """Brackets without end, where a parser that recurses falls over."""
    opening, closing = r.choice([(b"[", b"]"), (b'{"a":', b"}"), (b"- ", b""), (b"(", b")")])
    depth = r.choice([50, 3000, 100_000])
    at = r.choice([0, r.randrange(len(data) + 1)])
    return data[:at] + opening * depth + b"1" + closing * (depth if r.random() < 0.7 else 0) + data[at:]


def line(data: bytes, r: random.Random) -> bytes:
    """A line gone, twice, elsewhere, with another one's end, or with something in it."""
    lines = data.split(b"\n")
    at, other = r.randrange(len(lines)), r.randrange(len(lines))
    what = r.randrange(6)
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(other, lines[at])
    elif what == 2:
        lines[at], lines[other] = lines[other], lines[at]
    elif what == 3:
        lines[at] = lines[at][: r.randrange(len(lines[at]) + 1)] + lines[other]
    elif what == 4:
        lines[at] = b""
    else:
        cut_at = r.randrange(len(lines[at]) + 1)
        lines[at] = lines[at][:cut_at] + r.choice(PIECES) + lines[at][cut_at:]
    return b"\n".join(lines)


def word(data: bytes, r: random.Random) -> bytes:
    """A blank, tab or number of a line is another one."""
    lines = data.split(b"\n")
    at = r.randrange(len(lines))
    words = lines[at].split(b" " if r.random() < 0.7 else b"\t")
    new = r.choice(
        [b"", b"-1", b"0", b"99999999999999999999", b"1_0", b"+1", "١".encode(), b"AA==", b"=", r.choice(PIECES)]
    )
    words[r.randrange(len(words))] = new
    lines[at] = b" ".join(words)
    return b"\n".join(lines)


def change_tree(tree: Any, r: random.Random) -> Any:
    """One place of a tree: another value, gone, twice, under another key, nested deeper."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in items:
            places.append((node, key))
            walk(value)

    walk(tree)
    if not places or r.random() < 0.02:
        return copy.deepcopy(r.choice(VALUES))
    node, key = r.choice(places)
    what = r.random()
    if what < 0.55:
        node[key] = copy.deepcopy(r.choice(VALUES))
    elif what < 0.65:
        del node[key]
    elif what < 0.75:
        other, other_key = r.choice(places)
        node[key] = copy.deepcopy(
            other.get(other_key) if isinstance(other, dict) else other[other_key % len(other)] if other else None
        )
    elif what < 0.85 and isinstance(node, dict):
        node[r.choice([*STRINGS, *REPEATING, "0", "1", str(key) + "x"])] = node[key]
    elif what < 0.92:
        node[key] = [node[key]] if r.random() < 0.5 else {"a": node[key]}
    else:
        value = node[key]
        node[key] = value + r.choice([1, -1]) if isinstance(value, int) else str(value) + r.choice(STRINGS)
    return tree


def json_tree(data: bytes, r: random.Random) -> bytes:
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return flip(data, r)
    for _ in range(r.choice([1, 1, 2, 4])):
        tree = change_tree(tree, r)
    try:
        return json.dumps(tree).encode()
    except (ValueError, RecursionError):
        return flip(data, r)


def json_lines(data: bytes, r: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = r.randrange(len(lines))
    lines[at] = json_tree(lines[at], r)
    return b"\n".join(lines)


def yaml_tree(data: bytes, r: random.Random) -> bytes:
    try:
        tree = YAML(typ="safe", pure=True).load(data)
        for _ in range(r.choice([1, 1, 1, 3])):
            tree = change_tree(tree, r)
        out = io.BytesIO()
        YAML(typ="safe", pure=True).dump(tree, out)
        return out.getvalue()
    except Exception:  # what the library says of a damaged parent is no matter here
        return line(data, r)


def laughs(data: bytes, r: random.Random) -> bytes:
    """Aliases of aliases: a small text that unfolds to more than there is room for; and one that holds itself."""
    if r.random() < 0.3:
        return data + b"loop: &loop\n  more: [*loop, *loop]\n"
    depth = r.choice([4, 9, 30])
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, depth)]
    return data + ("\n".join(lines) + "\n").encode()


def header(data: bytes, r: random.Random) -> bytes:
    """The header of a safetensors file: names, types, shapes, places; lengths put right so that it is believed."""
    size = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if not 0 < size <= len(data) - 8:
        return flip(data, r)
    try:
        tree = json.loads(data[8 : 8 + size])
    except (ValueError, RecursionError):
        return flip(data, r)
    body = data[8 + size :]
    if not isinstance(tree, dict):
        return flip(data, r)
    names = [name for name in tree if isinstance(tree[name], dict) and name != "__metadata__"]
    for _ in range(r.choice([1, 1, 2])):
        if names:
            body = tensor(tree, r.choice(names), body, r)
    text = json.dumps(tree).encode()
    return struct.pack("<Q", len(text)) + text + body


def tensor(tree: dict[str, Any], name: str, body: bytes, r: random.Random) -> bytes:
    """Change what a header says of one tensor, in ways that the library itself may find nothing wrong with."""
    facts = tree.get(name)
    if not isinstance(facts, dict):
        return body
    what = r.randrange(8)
    if what == 0:
        facts["dtype"] = r.choice(
            ["F32", "F16", "BF16", "I32", "U32", "F64", "I8", "BOOL", "F8_E4M3", "C64", "F4", "x", None, 1]
        )
    elif what == 1 and isinstance(facts.get("shape"), list):
        r.shuffle(facts["shape"])
    elif what == 2 and isinstance(facts.get("shape"), list):
        facts["shape"] = r.choice(
            [[], [1, *facts["shape"]], [0], [2**40, 0], [2**63, 2], [-1], [2**32, 2**32], ["1"], [1.5]]
        )
    elif what == 3:
        tree[r.choice(["x", "", "transformer.h.", "transformer.h.99.ln_1.weight", name + "x", "lm_head.weight"])] = (
            tree.pop(name)
        )
    elif what == 4:
        facts["data_offsets"] = r.choice([[0, 0], [0, 2**40], [-1, 4], [4, 0], [0], None, [0, len(body)]])
    elif what == 5:  # no numbers at all
        tree["transformer.wpe.weight" if r.random() < 0.5 else name] = {
            "dtype": "F32", "shape": r.choice([[0, 64], [0, 0], [2**50, 0], [64, 0]]), "data_offsets": [len(body)] * 2
        }  # fmt: skip
    elif what == 6:
        tree["__metadata__"] = r.choice([{}, {"format": "pt"}, {"a": 1}, None, [], {"a": "b" * 10_000}])
    else:  # numbers that are none
        at = 4 * r.randrange(max(1, len(body) // 4))
        odd = struct.pack("<f", r.choice([*ODD_FLOATS, 3e38, 1e-45]))
        return body[:at] + odd + body[at + 4 :]
    return body


def header_length(data: bytes, r: random.Random) -> bytes:
    """Another length in the first eight bytes."""
    size = r.choice([0, 1, 2**31, 2**40, 2**63, 2**64 - 1, len(data), len(data) - 8, 100_000_000, 99_999_999])
    return struct.pack("<Q", size) + data[8:]


MUTATORS = [
    *(Mutator(f.__name__, "bytes", f) for f in (flip, cut, insert, double, nest)),
    *(Mutator(f.__name__, "lines", f) for f in (line, word)),
    Mutator("json tree", "json", json_tree),
    Mutator("json lines", "jsonl", json_lines),
    Mutator("yaml tree", "yaml", yaml_tree),
    Mutator("laughs", "yaml", laughs),
    Mutator("header", "safetensors", header),
    Mutator("header length", "safetensors", header_length),
]
