"""Chapter 1's comparison: byte-pair encoding beside WordPiece and Unigram, learned from one text at one size.

All three see the same words, cut by GPT-2's pattern and written in its 256 byte symbols, so that only the algorithm
differs: BPE and WordPiece (Schuster & Nakajima, 2012) merge upwards; Unigram (Kudo, 2018) starts large and prunes.

The `tokenizers` library hashes words in an order that changes from process to process. BPE isn't touched by that;
WordPiece is when it first meets its `##` symbols (here they are numbered beforehand); Unigram's vocabulary came out
equal in every one of 13 runs, but in another order and with other last digits, so both are settled here afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from gpt.tokenizer import in_batches

Texts = Callable[[], Iterable[str]]
UNKNOWN = "[UNK]"


@dataclass(frozen=True)
class TokenizerRow:
    """One line of the comparison."""

    algorithm: str
    vocab_size: int
    """Tokens in the vocabulary; fewer than asked for when the text has no more to learn."""
    tokens: int
    bytes_per_token: float
    """Bytes of UTF-8 that one token stands for, on average: more is better."""
    vocabulary_use: float
    """Share of the vocabulary that occurs in the text at least once."""


def vocabulary_use(tokens: np.ndarray, vocab_size: int, chunk: int = 1 << 24) -> float:
    """Share of the vocabulary that occurs in `tokens` (n,), in [0, 1]; reads a memory-mapped array chunk by chunk."""
    seen = np.zeros(vocab_size, dtype=bool)
    for start in range(0, len(tokens), chunk):
        seen[tokens[start : start + chunk]] = True
    return float(seen.mean())


def compare_tokenizers(texts: Texts, vocab_size: int) -> list[TokenizerRow]:
    """Rows for bpe, wordpiece and unigram, each trained and measured on `texts()`, which is called once a pass.

    ValueError when there is no text.
    """
    n_bytes = sum(len(text.encode()) for text in texts())
    if n_bytes == 0:
        raise ValueError("there is no text to compare tokenizers on")
    alphabet = symbols_in(texts)
    learned = {
        "bpe": learn_bpe(texts, vocab_size, alphabet),
        "wordpiece": learn_wordpiece(texts, vocab_size, alphabet),
        "unigram": learn_unigram(texts, vocab_size, alphabet),
    }
    return [measure(algorithm, tokenizer, texts, n_bytes) for algorithm, tokenizer in learned.items()]


def measure(algorithm: str, tokenizer: Tokenizer, texts: Texts, n_bytes: int) -> TokenizerRow:
    size = tokenizer.get_vocab_size()
    seen = np.zeros(size, dtype=bool)
    tokens = 0
    for batch in in_batches(texts()):
        for encoded in tokenizer.encode_batch_fast(batch):
            tokens += len(encoded)
            seen[encoded.ids] = True
    return TokenizerRow(algorithm, size, tokens, n_bytes / tokens, float(seen.mean()))


def words() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def symbols_in(texts: Texts) -> list[str]:
    """The byte symbols that occur, sorted."""
    found: set[str] = set()
    for text in texts():
        for word, _ in words().pre_tokenize_str(text):
            found.update(word)
    return sorted(found)


def learn(model: models.Model, trainer: trainers.Trainer, texts: Texts) -> Tokenizer:
    tokenizer = with_words(model)
    tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer


def with_words(model: models.Model) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = words()
    return tokenizer


def learn_bpe(texts: Texts, vocab_size: int, alphabet: list[str]) -> Tokenizer:
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    return learn(models.BPE(), trainer, texts)


def learn_wordpiece(texts: Texts, vocab_size: int, alphabet: list[str]) -> Tokenizer:
    """Named first as special tokens, the `##` symbols get fixed ids; the final tokenizer has no special tokens."""
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        initial_alphabet=alphabet,
        special_tokens=[UNKNOWN, *(f"##{symbol}" for symbol in alphabet)],
        show_progress=False,
    )
    vocab = learn(models.WordPiece(unk_token=UNKNOWN), trainer, texts).get_vocab()
    longest = 1 << 30  # a word is cut however long it is, not given up
    return with_words(models.WordPiece(vocab=vocab, unk_token=UNKNOWN, max_input_chars_per_word=longest))


def learn_unigram(texts: Texts, vocab_size: int, alphabet: list[str]) -> Tokenizer:
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size,
        initial_alphabet=alphabet,
        special_tokens=[UNKNOWN],
        unk_token=UNKNOWN,
        show_progress=False,
    )
    trained = learn(models.Unigram(), trainer, texts)
    pieces = json.loads(trained.to_str())["model"]["vocab"]
    settled = sorted((piece, round(score, 6)) for piece, score in pieces if piece != UNKNOWN)
    return with_words(models.Unigram(vocab=[(UNKNOWN, 0.0), *settled], unk_id=0, byte_fallback=False))
