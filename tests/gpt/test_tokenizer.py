"""Chapter 1: encodings, their files, and that tiktoken, `tokenizers` and transformers agree on every string."""

from __future__ import annotations

import filecmp
import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from gpt.tokenizer import END_OF_TEXT, encode_documents, gpt2_encoding, in_batches, train_encoding
from gpt.tokenizer_files import load_encoding, merge_list, ranks_of, save_encoding, to_tokenizers

CORPUS = [
    "the cat sat on the mat, the hat that the cat sat on; that's what they'll say: it's the cat's mat!\n\n",
    "aaaa aaa aaaaa abab ababab babab baab aab abb abba   aaab\tbbb\r\n",
    "Grüße, naïve café — 12 345 678 … 日本語の文字列 и русский текст 🙂🙂🙂 e\u0301 ﷽",
    "aaaabbbbccccaaaa cacacaca acac bcbc cbcb abcabcabc bcabca cabcab",
]
WORDS = " ".join(CORPUS).split()
# What merges can go wrong on: runs of few different characters, the corpus's own words glued together, any Unicode.
TEXTS = st.one_of(
    st.text(),
    st.text(alphabet="abc ", max_size=60),
    st.text(alphabet="the cat'sll \n\t\u00a0\u3000", max_size=60),
    st.lists(st.sampled_from([*WORDS, " ", "  ", "\n", "\r\n", END_OF_TEXT]), max_size=20).map("".join),
)


@functools.cache
def trained(vocab_size: int) -> tiktoken.Encoding:
    return train_encoding(CORPUS, vocab_size)


@functools.cache
def converted(vocab_size: int) -> Tokenizer:
    tokenizer = to_tokenizers(trained(vocab_size))
    tokenizer.encode_special_tokens = True  # as plain text
    return tokenizer


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.sampled_from([257, 270, 300, 400]))
def test_tiktoken_and_tokenizers_agree_on_every_string(text: str, vocab_size: int) -> None:
    encoding, tokenizer = trained(vocab_size), converted(vocab_size)
    ids = encoding.encode_ordinary(text)
    assert tokenizer.encode(text).ids == ids
    assert encoding.decode(ids) == text
    assert tokenizer.decode(ids) == text


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(alphabet="ab", min_size=1, max_size=12), min_size=1, max_size=12), st.text("ab", max_size=40))
def test_whatever_is_learned_can_be_converted(corpus: list[str], text: str) -> None:
    """Two letters only: the most overlapping merges there can be."""
    encoding = train_encoding(corpus, 300)
    assert to_tokenizers(encoding).encode(text).ids == encoding.encode_ordinary(text)


def test_ranks_on_which_the_libraries_would_disagree_are_refused() -> None:
    """Merge order alone isn't enough: here tiktoken takes "abcd" whole, but no list of pairs ever makes it."""
    tokens = [bytes([byte]) for byte in range(256)] + [b"bc", b"ab", b"abcd"]
    with pytest.raises(ValueError, match=r"b'abcd' .*isn't the merge of two tokens"):
        merge_list({token: rank for rank, token in enumerate(tokens)})


def test_end_of_text_is_the_last_id_and_only_special() -> None:
    encoding = trained(300)
    assert encoding.n_vocab == 300
    assert encoding.eot_token == 299
    assert encoding.encode(END_OF_TEXT, allowed_special="all") == [299]
    assert 299 not in encoding.encode_ordinary(END_OF_TEXT)


def test_a_vocabulary_below_the_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="257 at least"):
        train_encoding(CORPUS, 256)


def test_training_is_repeatable_across_processes(tmp_path: Path) -> None:
    save_encoding(trained(400), tmp_path / "here")
    code = (
        "import sys; from pathlib import Path; from gpt.tokenizer import train_encoding;"
        "from gpt.tokenizer_files import save_encoding;"
        "save_encoding(train_encoding(sys.argv[2:], 400), Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "there", *CORPUS], check=True)
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert len(names) == 6
    assert filecmp.cmpfiles(tmp_path / "here", tmp_path / "there", names, shallow=False) == (names, [], [])


def test_saved_encoding_loads_everywhere(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, GPT2Tokenizer

    encoding = trained(400)
    save_encoding(encoding, tmp_path)
    loaded = load_encoding(tmp_path)
    assert ranks_of(loaded) == ranks_of(encoding)
    assert loaded.n_vocab == 400
    text = "".join(CORPUS) + "  end  "
    ids = encoding.encode_ordinary(text)
    assert loaded.encode_ordinary(text) == ids
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(text).ids == ids
    (tmp_path / "only").mkdir()
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (tmp_path / "only" / name).write_bytes((tmp_path / name).read_bytes())
    for tokenizer in (AutoTokenizer.from_pretrained(tmp_path), GPT2Tokenizer.from_pretrained(tmp_path / "only")):
        assert isinstance(tokenizer, GPT2Tokenizer)
        assert tokenizer(text)["input_ids"] == ids
        assert tokenizer.eos_token_id == 399
        assert len(tokenizer) == 400


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    save_encoding(trained(300), tmp_path)
    ranks = tmp_path / "ranks.tiktoken"
    ranks.write_text(ranks.read_text()[:-5])
    with pytest.raises(ValueError, match=r"ranks\.tiktoken isn't a saved encoding's file"):
        load_encoding(tmp_path)
    ranks.unlink()
    with pytest.raises(ValueError, match=r"ranks\.tiktoken"):
        load_encoding(tmp_path)


def test_gpt2_files_of_different_releases_are_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\nt h\n")
    (tmp_path / "encoder.json").write_text('{"!": 0}')
    with pytest.raises(ValueError, match="one release"):
        gpt2_encoding(tmp_path / "vocab.bpe", tmp_path / "encoder.json")


def test_documents_are_encoded_in_order_by_any_number_of_workers() -> None:
    texts = [f"document {i} {END_OF_TEXT} " + "the cat " * (i % 7) for i in range(300)] + [""]
    expected = [trained(300).encode_ordinary(text) for text in texts]
    for workers in (1, 3):
        found = list(encode_documents(trained(300), iter(texts), workers))
        assert [ids.tolist() for ids in found] == expected
        assert found[0].dtype == np.uint32


def test_batches_hold_every_text_once() -> None:
    texts = ["abc", "", "a" * 30, "de", "f"]
    assert list(in_batches(texts, characters=10)) == [["abc", "", "a" * 30], ["de", "f"]]


def test_a_text_that_cannot_be_encoded_is_named() -> None:
    with pytest.raises(ValueError, match="document 2 can't be encoded"):
        list(encode_documents(trained(300), ["fine", " " * 1_500_000 + "x"]))


def test_gpt2_figures(mirror: Path) -> None:
    encoding = gpt2_encoding(mirror / "vocab.bpe", mirror / "encoder.json")
    text = (mirror / "the-verdict.txt").read_bytes().decode()
    ids = encoding.encode_ordinary(text)
    assert (len(text), len(ids)) == (20479, 5145)
    assert ids[:10] == [40, 367, 2885, 1464, 1807, 3619, 402, 271, 10899, 2138]
    assert len(encoding.encode_ordinary(text.replace("\n", "\r\n"))) == 5309
    assert encoding.encode_ordinary("Akwirw ier") == [33901, 86, 343, 86, 220, 959]
    tea = "Hello, do you like tea? <|endoftext|> In the sunlit terracesof someunknownPlace."
    special = encoding.encode(tea, allowed_special={END_OF_TEXT})
    assert len(special) == 20
    assert encoding.eot_token == 50256
    assert 50256 in special


def test_gpt2_merges_are_recovered_and_agree(mirror: Path) -> None:
    encoding = gpt2_encoding(mirror / "vocab.bpe", mirror / "encoder.json")
    published = (mirror / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:-1]
    tokenizer = to_tokenizers(encoding)
    recovered = json.loads(tokenizer.to_str())["model"]["merges"]
    assert [f"{first} {second}" for first, second in recovered] == published
    for name in ("the-verdict.txt", "SMSSpamCollection", "instruction-data.json"):
        text = (mirror / name).read_bytes().decode()
        assert tokenizer.encode(text).ids == encoding.encode_ordinary(text)
