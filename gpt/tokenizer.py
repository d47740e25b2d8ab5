"""Chapter 1, tokenizing: byte-pair encoding (Sennrich et al., 2016) over bytes, as in GPT-2 (Radford et al., 2019).

An encoding is a `tiktoken.Encoding`: GPT-2's own, built from its two published files, or one trained on our text with
the `tokenizers` library. Text is first cut into words by GPT-2's pattern; inside a word, bytes are merged, always the
pair whose merge was learned first. `<|endoftext|>` is the last id and never comes out of plain text.

`tokenizer_files` writes an encoding to a folder and says why tiktoken and `tokenizers` agree on every string.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tiktoken
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

END_OF_TEXT = "<|endoftext|>"

# GPT-2's words, with possessive quantifiers: the same words, twice as fast. Checked code point by code point against
# the `tokenizers` library's form of the pattern: both libraries class all 1,112,064 of them alike.
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"

BATCH_CHARACTERS = 1 << 22  # about as much text is in flight at once while encoding


def byte_symbols() -> dict[int, str]:
    """GPT-2's printable character for each of the 256 bytes, in the order of GPT-2's first 256 ids.

    Bytes that Latin-1 prints stand for themselves; the others get the characters from U+0100 on.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(rest)}


def make_encoding(ranks: dict[bytes, int], name: str) -> tiktoken.Encoding:
    """The encoding with these mergeable ranks (0 … n − 1) and `<|endoftext|>` as id n."""
    return tiktoken.Encoding(
        name,
        pat_str=PATTERN,
        mergeable_ranks=ranks,
        special_tokens={END_OF_TEXT: len(ranks)},
        explicit_n_vocab=len(ranks) + 1,
    )


def gpt2_encoding(vocab_bpe: Path, encoder_json: Path) -> tiktoken.Encoding:
    """GPT-2's encoding from its published merges and ids. ValueError when the two files don't belong together.

    (tiktoken's own loader would take an old copy from a cache in /tmp.)
    """
    back = {symbol: byte for byte, symbol in byte_symbols().items()}
    try:
        merges = [line.split(" ") for line in vocab_bpe.read_text(encoding="utf-8").split("\n")[1:] if line]
        ids: dict[str, int] = json.loads(encoder_json.read_text(encoding="utf-8"))
        tokens = [*back, *(first + second for first, second in merges), END_OF_TEXT]
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{vocab_bpe} and {encoder_json} aren't GPT-2's merges and ids: {error}") from None
    if unknown := sorted(set("".join(tokens[:-1])) - set(back)):
        raise ValueError(f"{vocab_bpe} merges {unknown[0]!r}, which stands for none of the 256 bytes")
    if len(set(tokens)) < len(tokens):
        raise ValueError(f"{vocab_bpe} makes {max(tokens, key=tokens.count)!r} twice: each merge must make a new token")
    if ids != {token: rank for rank, token in enumerate(tokens)}:
        raise ValueError(f"{encoder_json} doesn't number the tokens of {vocab_bpe} in order: take both of one release")
    ranks = {bytes(back[symbol] for symbol in token): rank for rank, token in enumerate(tokens[:-1])}
    return make_encoding(ranks, "gpt2")


def train_encoding(texts: Iterable[str], vocab_size: int) -> tiktoken.Encoding:
    """Learn byte-pair merges from `texts`, up to `vocab_size` tokens, `<|endoftext|>` included.

    The same texts give the same encoding. A short text may have fewer pairs to merge and gives a smaller vocabulary.
    ValueError when `vocab_size` doesn't even hold the 256 bytes and `<|endoftext|>`.
    """
    if vocab_size < 257:
        raise ValueError(f"a vocabulary of {vocab_size} tokens: 257 at least, for the 256 bytes and {END_OF_TEXT}")
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1, initial_alphabet=list(byte_symbols().values()), show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    back = {symbol: byte for byte, symbol in byte_symbols().items()}
    ranks = {bytes(back[symbol] for symbol in token): rank for token, rank in learner.get_vocab().items()}
    return make_encoding(dict(sorted(ranks.items(), key=lambda item: item[1])), "trained")


def encode_documents(encoding: tiktoken.Encoding, texts: Iterable[str], workers: int = 1) -> Iterator[np.ndarray]:
    """Each text's token ids, uint32 (n,), in order, encoded by `workers` threads; special tokens are plain text.

    Memory stays flat: a few million characters are read ahead, and ids never become Python lists.
    ValueError naming the document (counted from 1) that can't be encoded.
    """

    def encode(text: str) -> np.ndarray | ValueError:
        try:
            return encoding.encode_to_numpy(text, disallowed_special=())
        except ValueError as error:  # half a million blanks in a row are too many for the pattern's engine
            return error

    number = 0
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for batch in in_batches(texts):
            for ids in pool.map(encode, batch):
                number += 1
                if isinstance(ids, ValueError):
                    raise ValueError(f"document {number} can't be encoded: {ids}")
                yield ids


def in_batches(texts: Iterable[str], characters: int = BATCH_CHARACTERS) -> Iterator[list[str]]:
    """Texts in lists of about so many characters; no list is empty."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text) + 1
        if size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
