"""Chapter 2: clean, drop exact duplicates, split, then turn text into token ids by byte-pair encoding.

The tokenizer is GPT-2's, from the downloaded vocabulary, or one trained on the training part alone. Documents stream
through: what stays of each are 24 to 48 bytes to know its copies by, and 24 for its place.

    python -m stages.tokenize
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import tiktoken

from corpus.documents import Document, clean, drop_duplicates, read_documents, split_by_character, split_by_document
from gpt.tokenizer import encode_documents, gpt2_encoding, train_encoding
from gpt.tokenizer_files import save_encoding
from gpt.tokenizer_report import compare_tokenizers, vocabulary_use
from gpt.tokens import TokenWriter, open_tokens, read_about
from pipeline.schema import Tokenize
from pipeline.stage import Stage, run

TEXT, VOCABULARY = Path("data/raw/text"), Path("data/raw/vocabulary")


def documents(params: Tokenize, seed: int, counts: Counter[str] | None = None) -> Iterator[tuple[str, Document]]:
    """(part, cleaned document) of every document that is not a copy of an earlier one, in the files' sorted order."""
    fractions = (params.train_fraction, params.validation_fraction)
    counts = counts if counts is not None else Counter()
    for document in drop_duplicates(cleaned(params), counts):
        counts["documents"] += 1
        if params.split == "document":
            yield split_by_document(document, fractions, seed), document
        else:
            for part, text in split_by_character(document.text, fractions).items():
                yield part, Document(document.source, document.name, text)  # a piece has no surprisal of its own


def cleaned(params: Tokenize) -> Iterator[Document]:
    for document in read_documents(TEXT, params.document_separator):
        text = clean(
            document.text,
            normalization=params.normalization,
            newlines=params.newlines,
            strip_control=params.strip_control,
        )
        if text.strip():
            yield Document(document.source, document.name, text, document.nats if text == document.text else None)


def build_encoding(params: Tokenize, seed: int) -> tiktoken.Encoding:
    if params.tokenizer == "gpt2":
        return gpt2_encoding(VOCABULARY / "vocab.bpe", VOCABULARY / "encoder.json")
    return train_encoding(training_texts(params, seed), params.trained_vocab_size)


def training_texts(params: Tokenize, seed: int) -> Iterator[str]:
    return (document.text for part, document in documents(params, seed) if part == "train")


def first_bytes(texts: Iterable[str], most: int) -> Iterator[str]:
    """The first texts, as many as have `most` bytes together, but one at least."""
    left = most
    for text in texts:
        if left < most and left < len(text.encode()):
            return
        left -= len(text.encode())
        yield text


def parts_of(params: Tokenize) -> tuple[str, ...]:
    """Training, validation, and test where the shares leave something for it."""
    left = 1 - params.train_fraction - params.validation_fraction
    return ("train", "validation", "test") if left > 1e-9 else ("train", "validation")


def write_tokens(
    params: Tokenize, seed: int, encoding: tiktoken.Encoding, folder: Path, advance: Callable[[], None]
) -> Counter[str]:
    """Every document's tokens into `folder`; returns documents, duplicates, and characters and bytes of each part."""
    counts: Counter[str] = Counter()
    waiting: deque[tuple[str, Document]] = deque()  # what the texts on their way through the encoder belong to

    def texts() -> Iterator[str]:
        for part, document in documents(params, seed, counts):
            waiting.append((part, document))
            counts[f"{part}_characters"] += len(document.text)
            counts[f"{part}_bytes"] += len(document.text.encode())
            yield document.text

    with TokenWriter(folder, parts_of(params), encoding.n_vocab, encoding.eot_token) as writer:
        for tokens in encode_documents(encoding, texts(), params.workers):
            part, document = waiting.popleft()
            writer.add(part, document.source, tokens, document.nats)
            advance()
    return counts


def main(stage: Stage) -> None:
    params, seed = stage.params.tokenize, stage.params.seed
    encoding = build_encoding(params, seed)
    save_encoding(encoding, stage.out("data/tokenizer"))

    folder = stage.out("data/tokens")
    with stage.progress(None, "texts") as progress:
        counts = write_tokens(params, seed, encoding, folder, progress.advance)

    about = read_about(folder)["parts"]
    if empty := [part for part in about if part != "test" and not about[part]["tokens"]]:
        raise ValueError(f"{TEXT} holds no text for the {empty[0]} part: a longer corpus or a larger share is needed")
    metrics: dict[str, float] = {
        "documents": counts["documents"],
        "duplicates_dropped": counts["duplicates"],
        "vocab_size": encoding.n_vocab,
        "vocabulary_use": vocabulary_use(open_tokens(folder, "train"), encoding.n_vocab),
        "bytes_per_token": counts["train_bytes"] / about["train"]["tokens"],
    }
    for part, numbers in about.items():
        metrics |= {f"{part}_tokens": numbers["tokens"], f"{part}_characters": counts[f"{part}_characters"]}
    most = round(params.compare_megabytes * 1e6)
    rows = compare_tokenizers(lambda: first_bytes(training_texts(params, seed), most), params.compare_vocab_size)
    pd.DataFrame(map(asdict, rows)).to_csv(
        stage.out("reports/tokenize/tokenizers.csv"), index=False, lineterminator="\n"
    )
    stage.log_artifact(stage.out("reports/tokenize/tokenizers.csv"))
    stage.log_dataset("tokens", folder, "tokenize")
    stage.write_metrics(metrics)


if __name__ == "__main__":
    sys.exit(run("tokenize", main))
