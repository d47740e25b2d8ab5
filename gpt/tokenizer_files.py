"""An encoding as a folder: what tiktoken reads, and what Hugging Face reads as a GPT-2 tokenizer.

    ranks.tiktoken + encoding.json                                    tiktoken: bytes and their ranks; pattern, specials
    vocab.json, merges.txt, tokenizer.json, tokenizer_config.json     tokenizers, transformers

Do both sides agree on every string? tiktoken merges any two neighbours whose *joined bytes* are a token, the one of the
lowest rank first, and takes a whole word at once when the word is a token; `tokenizers` merges only the *pairs* on its
list, in the list's order. For ranks from anywhere these differ (a token that its own merges never reach is enough).
They agree when each token, encoded with only the merges learned before it, falls into exactly two tokens, and that pair
is its entry in the list: in any text where a token's bytes are still aligned with token borders, the earlier merges
inside those borders run as they do for the token alone, so the same pair stands there in both libraries, and its turn
comes at the same time. `merge_list` recovers the pairs this way and refuses ranks without the property, so that
whatever is saved agrees. GPT-2's ranks have it, and so has whatever a trainer learns that applies each merge everywhere
before it learns the next.
"""

from __future__ import annotations

import base64
import binascii
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import tiktoken
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from gpt.tokenizer import END_OF_TEXT, PATTERN, byte_symbols, make_encoding

Ranks = dict[bytes, int]


def ranks_of(encoding: tiktoken.Encoding) -> Ranks:
    """The encoding's tokens without special ones, bytes -> rank, in order of rank."""
    return {encoding.decode_single_token_bytes(rank): rank for rank in range(encoding.n_vocab - 1)}


def split_by_earlier(ranks: Ranks, token: bytes) -> list[bytes]:
    """A token's bytes, merged with only what was learned before the token."""
    limit = ranks[token]
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 1:
        joined = [ranks.get(a + b, limit) for a, b in pairwise(parts)]
        best = min(joined)
        if best >= limit:
            break
        at = joined.index(best)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def merge_list(ranks: Ranks) -> list[tuple[bytes, bytes]]:
    """The pair that makes each token of two bytes or more, in order of rank: what `tokenizers` calls merges.

    ValueError for ranks on which the two libraries could disagree (see above).
    """
    merges = []
    for token in ranks:
        parts = split_by_earlier(ranks, token)
        if len(parts) > 2 or (len(parts) == 1 and len(token) > 1):
            raise ValueError(f"token {token!r} (rank {ranks[token]}) isn't the merge of two tokens learned before it")
        if len(parts) == 2:
            merges.append((parts[0], parts[1]))
    return merges


def to_tokenizers(encoding: tiktoken.Encoding) -> Tokenizer:
    """The same encoding as a `tokenizers.Tokenizer`: equal ids for every string without surrogates."""
    symbols = byte_symbols()

    def text(token: bytes) -> str:
        return "".join(symbols[byte] for byte in token)

    ranks = ranks_of(encoding)
    merges = [(text(a), text(b)) for a, b in merge_list(ranks)]
    vocab = {text(token): rank for token, rank in ranks.items()} | {END_OF_TEXT: len(ranks)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    return tokenizer


def save_encoding(encoding: tiktoken.Encoding, folder: Path) -> None:
    """Write all six files into `folder` (made if missing): equal encodings, equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks_of(encoding).items()]
    (folder / "ranks.tiktoken").write_text("".join(lines), encoding="ascii")
    write_json(folder / "encoding.json", {"end_of_text": END_OF_TEXT, "name": encoding.name, "pattern": PATTERN})

    tokenizer = to_tokenizers(encoding)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "vocab.json", tokenizer.get_vocab())
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    text = "#version: 0.2\n" + "".join(f"{first} {second}\n" for first, second in merges)
    (folder / "merges.txt").write_text(text, encoding="utf-8")
    special = {f"{role}_token": END_OF_TEXT for role in ("bos", "eos", "unk")}
    settings = {"add_prefix_space": False, "clean_up_tokenization_spaces": False, "tokenizer_class": "GPT2Tokenizer"}
    write_json(folder / "tokenizer_config.json", settings | special)


def load_encoding(folder: Path) -> tiktoken.Encoding:
    """The encoding that `save_encoding` wrote; ValueError naming the file that is missing or damaged."""
    path = folder / "ranks.tiktoken"
    try:
        pairs = [line.split(" ") for line in path.read_text(encoding="ascii").splitlines()]
        ranks = {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}
        single = {bytes([byte]) for byte in range(256)}
        if list(ranks.values()) != list(range(len(pairs))) or not single <= set(ranks) or b"" in ranks:
            raise ValueError("ranks must count up from 0, one a line, with every byte among them")
        path = folder / "encoding.json"
        about = json.loads(path.read_text(encoding="utf-8"))
        if about["pattern"] != PATTERN or about["end_of_text"] != END_OF_TEXT or not isinstance(about["name"], str):
            raise ValueError("only GPT-2's pattern and <|endoftext|> are known, and the name must be a string")
    except (OSError, ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise ValueError(f"{path} isn't a saved encoding's file: {error}") from None
    return make_encoding(ranks, about["name"])


def write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")
