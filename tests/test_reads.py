"""dvc.yaml declares the parameters that the stages read: no leaf less, no leaf more. `make torture` tries many more
configurations, and asks DVC about every leaf."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.params import leaves, load_params
from pipeline.recording import leaves_of, recording
from tests.reads import EVERYTHING, declared, explained, reads

ROOT = Path(__file__).resolve().parent.parent


def test_every_leaf_belongs_to_a_stage_or_to_promotion():
    assert list(leaves(load_params(ROOT / "params.yaml").model_dump())) == leaves_of()
    known = set().union(*declared(ROOT).values())
    assert {leaf for leaf in leaves_of() if leaf not in known} == {leaf for leaf in leaves_of() if "promote." in leaf}


def test_the_stages_read_what_dvc_yaml_declares(tmp_path):
    assert list(explained(reads(tmp_path, EVERYTHING), declared(ROOT))) == []


def test_a_view_answers_like_the_parameters_and_notes_what_is_read():
    params = load_params(ROOT / "params.yaml")
    seen: set[str] = set()
    view = recording(params, seen)
    assert view.pretrain.sample and view.download.world and not seen
    assert view.pretrain.learning_rate == params.pretrain.learning_rate and seen == {"pretrain.learning_rate"}
    assert view.download.names("text") == ["stories.jsonl"]
    assert "download.world.instructions" in seen and "download.text" in seen and "download.weights" not in seen
    assert view.pretrain.sample.model_dump(exclude={"prompt"}) == params.pretrain.sample.model_dump(exclude={"prompt"})
    assert {"pretrain.sample.top_k", "pretrain.sample.top_p"} <= seen and "pretrain.sample.prompt" not in seen
    seen.clear()
    assert view.model_dump() == params.model_dump() and seen == set(leaves_of())
    with pytest.raises(AttributeError, match=r"lora\.model_copy"):
        _ = view.lora.model_copy


def test_what_is_read_undeclared_or_declared_unread_is_said():
    said = {"toy": {"a", "b"}}
    assert list(explained({"toy": {"b", "c"}}, said)) == [
        "toy reads c, dvc.yaml does not say so",
        "toy declares a and never reads it",
    ]
