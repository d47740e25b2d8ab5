"""Parameters: strict, complete, all errors at once; presets compose and keep comments."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.params import check_params, dump_yaml, leaves, load_params, read_yaml
from pipeline.preset import compose, groups, main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tree(monkeypatch):
    monkeypatch.chdir(ROOT)
    return compose(read_yaml(ROOT / "params.yaml"), {"data": "book", "model": "small"})


def refused(tree) -> str:
    with pytest.raises(ValueError) as error:
        check_params(tree, "params.yaml")
    return str(error.value)


def test_the_shipped_parameters_hold():
    assert load_params(ROOT / "params.yaml").seed == 123


def test_small_numbers_in_scientific_notation_are_numbers(tree):
    assert "pretrain:\n" in dump_yaml(tree)
    assert "learning_rate: 1e-3" in dump_yaml(tree)
    assert check_params(tree, "params.yaml").pretrain.learning_rate == 0.001


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("pretrain.learning_rate", -1.0, "pretrain.learning_rate is -1.0: input should be greater than 0"),
        ("pretrain.learning_rate", "fast", "pretrain.learning_rate is 'fast': input should be a valid number"),
        ("pretrain.batch_size", 2.5, "pretrain.batch_size is 2.5"),
        ("pretrain.batch_size", True, "pretrain.batch_size is True"),
        ("model.n_heads", 7, "model.emb_dim 256 must be a multiple of n_heads 7"),
        ("instruct.max_length", 257, "instruct.max_length 257 is longer than model.context_length 256"),
        ("instruct.template", "chatml", "'alpaca', 'phi3' or 'dialogue'"),
        ("pretrain.init", "model.safetensors", "neither scratch nor a name in download.weights"),
        ("tokenize.train_fraction", 0.95, "at most 1 is allowed"),
        ("lora.min_learning_rate", 0.5, "must not exceed learning_rate"),
        ("sample.messages.labels", ["ham", "ham"], "labels ['ham', 'ham'] has one name twice"),
        ("sample.mixture.weights", {"other.txt": 1.0}, "sample.mixture.weights names ['other.txt']"),
        ("download.text", [], "text lists no file, and none is asked of world"),
        ("pretrain.optimizer", "sgd", "'adamw' or 'muon'"),
        ("download.world", {"seed": 1, "text_megabytes": -1, "messages": 0, "instructions": 0}, "text_megabytes is -1"),
        ("download.vocabulary", [], "tokenize.tokenizer gpt2 needs vocab.bpe and encoder.json"),
        ("sample.messages.validation_fraction", 0.3, "the test part needs a share, too"),
        ("classify.variants", ["full", "full"], "has one name twice"),
        ("surprise", 1, "surprise is not a known parameter"),
        ("model.d_model", 1, "model.d_model is not a known parameter"),
    ],
)
def test_a_wrong_leaf_is_named_with_what_is_allowed(tree, path, value, said):
    place = tree
    *sections, leaf = path.split(".")
    for section in sections:
        place = place[section]
    place[leaf] = value
    assert said in refused(tree)


def test_the_world_s_files_have_names_like_all_others(tree):
    tree["download"]["world"]["messages"] = 10
    tree["download"]["messages"][0]["name"] = "messages.tsv"
    assert "messages has more than one file named messages.tsv" in refused(tree)
    tree["download"]["world"]["text_megabytes"] = 0.5
    tree["download"]["messages"] = []
    tree["sample"]["mixture"]["weights"] = {"stories.jsonl": 2.0}
    check_params(tree, "params.yaml")


def test_all_problems_are_listed_at_once(tree):
    tree["model"]["n_layers"] = 0
    tree["lora"]["rank"] = "many"
    del tree["evaluate"]["batch_size"]
    said = refused(tree)
    assert all(name in said for name in ("model.n_layers", "lora.rank", "evaluate.batch_size is missing"))


@pytest.mark.parametrize("text", ["- a\n", "a: [\n", "\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match="params"):
        load_params(file)


def test_an_address_without_hash_is_followed_and_a_path_must_be_ones_own(tree):
    source = tree["download"]["text"][0]
    assert not check_params(tree, "params.yaml").download.text[0].followed
    source["sha256"] = None
    assert check_params(tree, "params.yaml").download.text[0].followed
    source["url"] = "data/own/story.txt"
    assert not check_params(tree, "params.yaml").download.text[0].followed
    source["url"] = "/etc/hostname"
    assert "url of 'the-verdict.txt' is neither an address" in refused(tree)


def test_presets_of_a_group_set_the_same_leaves(monkeypatch):
    monkeypatch.chdir(ROOT)
    for group, names in groups().items():
        sets = {name: set(leaves(read_yaml(ROOT / "conf" / group / f"{name}.yaml"))) for name in names}
        assert len({frozenset(paths) for paths in sets.values()}) == 1, f"conf/{group}"


def test_every_combination_of_presets_is_valid_and_keeps_comments(monkeypatch):
    monkeypatch.chdir(ROOT)
    for data in groups()["data"]:
        for model in groups()["model"]:
            composed = compose(read_yaml("params.yaml"), {"data": data, "model": model})
            check_params(composed, "params.yaml")
            assert "# CPU threads of one stage" in dump_yaml(composed)


@pytest.mark.parametrize("argument", ["data", "data=", "=book", "colour=red", "model=enormous"])
def test_an_unknown_preset_is_one_sentence_and_changes_nothing(monkeypatch, tmp_path, capsys, argument):
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    assert main([argument]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "params.yaml").read_text() == (ROOT / "params.yaml").read_text()


def test_composing_twice_is_composing_once(monkeypatch, tmp_path):
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    assert main(["data=book", "model=gpt2-124m"]) == 0
    large = (tmp_path / "params.yaml").read_text()
    assert main(["model=small"]) == 0
    assert main(["model=gpt2-124m"]) == 0
    assert (tmp_path / "params.yaml").read_text() == large


def test_single_leaves_are_set_beside_presets_with_comments_kept(monkeypatch, tmp_path, capsys):
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    before = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(before)
    monkeypatch.chdir(tmp_path)
    assert main(["data=embedded", "model=nano", "seed=7", "lora.rank=4", "classify.variants=[pretrained]"]) == 0
    after = (tmp_path / "params.yaml").read_text()
    changed = [(a, b) for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]
    assert [new.split("#")[0].split() for _, new in changed] == [
        ["seed:", "7"], ["rank:", "4"], ["variants:", "[pretrained]"],
    ]  # fmt: skip
    for wrong, said in {
        "lora.ranks=4": "lora.ranks is not a known parameter: did you mean lora.rank?",
        "lora.rank.deep=4": "lora.rank.deep is not a known parameter",
        "lora.rank=four": "lora.rank is 'four'",
        "lora.rank=0": "lora.rank is 0",
        "lora.rank=[": "not valid YAML",
        "lora.rank": "is not GROUP=NAME, as in data=book, nor LEAF=VALUE",
    }.items():
        assert main(["model=small", wrong]) == 1
        assert said in capsys.readouterr().err
        assert (tmp_path / "params.yaml").read_text() == after
