"""Stories: pure functions of (seed, i), of a length that fits, streamed with their price; and what they say is true."""

from __future__ import annotations

import json
import re

import pytest

from corpus.world.choices import Choices
from corpus.world.days import begin
from corpus.world.errands import MAKERS, bought
from corpus.world.lexicon import ADJECTIVES, CLASSIFIED, NOUNS, NUMBERS, VERBS
from corpus.world.page import Page
from corpus.world.people import names
from corpus.world.scenes import scene
from corpus.world.stories import stories, story, story_lines
from corpus.world.write import write_stories

SOME = [story(123, i) for i in range(400)]


def test_a_document_is_a_function_of_seed_and_number():
    later = stories(123)
    assert [next(later) for _ in range(5)] == SOME[:5]
    assert story(124, 0) != SOME[0]


def test_documents_differ_and_fit():
    texts = [one.text for one in SOME]
    lengths = [len(text.split()) for text in texts]
    assert len(set(texts)) == len(texts)
    assert min(lengths) >= 40
    assert max(lengths) <= 190
    assert all(one.nats > 20 for one in SOME)
    assert not any(re.search(r"[{}]|  | \n|\n\n", text) for text in texts)


def test_names_are_written_in_one_way():
    assert len(names()) == len(set(names())) > 1000


def test_words_have_one_form_each():
    for words in ([noun.word for noun in NOUNS], [verb.word for verb in VERBS], [a.word for a in ADJECTIVES]):
        assert len(set(words)) == len(words)
    assert all(noun.category for noun in CLASSIFIED)
    opposites = {adjective.word: adjective.opposite for adjective in ADJECTIVES}
    assert all(opposites[opposites[word]] == word for word in opposites)


@pytest.mark.parametrize("i", range(30))
def test_a_purchase_adds_up(i):
    page = Page(Choices(i))
    begin(page)
    bought(page)
    paid, left = page["sum_of"]
    assert page["sum"].split()[0] == NUMBERS[paid + left]
    assert page["place"] is MAKERS[page["thing"].word]
    assert page.text.count(page["thing"].word) >= 2


@pytest.mark.parametrize("i", range(30))
def test_the_questions_of_a_scene_are_answered_by_it(i):
    """Who had a thing, by the text of the scene alone."""
    page = Page(Choices(i))
    scene(page)
    told, _, asked = page.text.partition("\n")
    for thing, who in re.findall(r'"Who had the (\w+)\?" "(\w+)\."', asked):
        sentence = next(part for part in re.split(r"(?<=[.])\s", told) if re.search(rf"\b{thing}\b", part))
        assert re.search(rf"\b{who}\b", sentence)


def test_lines_are_streamed_up_to_the_size(tmp_path):
    path = tmp_path / "stories.jsonl"
    write_stories(path, 20_000, 123)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == [one.text for one in SOME[: len(rows)]]
    size = sum(len(row["text"].encode()) for row in rows)
    assert size - len(rows[-1]["text"].encode()) < 20_000 <= size
    with pytest.raises(ValueError, match="n_bytes is 0"):
        next(story_lines(0, 1))
