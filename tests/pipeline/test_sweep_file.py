"""What a sweep file may say, and the one sentence for what it may not. The workspace is the project's own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.params import dump_yaml, leaves, load_params, plain, read_yaml
from pipeline.sweep_file import combinations, load_sweep, with_values

ROOT = Path(__file__).resolve().parents[2]
GOOD: dict[str, Any] = {
    "sampler": "random",
    "seed": 1,
    "trials": 3,
    "parameters": {"lora.learning_rate": {"low": 2e-4, "high": 1e-2, "log": True}, "lora.rank": {"low": 2, "high": 16}},
    "objective": {"stage": "lora", "metric": "validation_loss", "direction": "minimize"},
}
LOSS = {"kind": "median", "metric": "validation_loss"}
ACCURACY = {"stage": "lora", "metric": "validation_accuracy", "direction": "maximize"}


def written(folder: Path, **changes: Any) -> Path:
    file = folder / "mine.yaml"
    file.write_text(dump_yaml({**GOOD, **changes}))
    return file


@pytest.mark.parametrize("file", sorted((ROOT / "conf" / "sweep").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_examples_fit_the_project(file: Path) -> None:
    found = load_sweep(file, ROOT)
    assert found.trials > 1 and found.stages[-1] == found.file.objective.stage


def test_a_sweep_knows_its_stages_and_which_numbers_are_whole(tmp_path: Path) -> None:
    found = load_sweep(written(tmp_path), ROOT)
    assert (found.name, found.whole, found.trials) == ("mine", ["lora.rank"], 3)
    assert found.stages == ["download", "tokenize", "sample", "pretrain", "lora"]
    both = load_sweep(written(tmp_path, stages=["evaluate"]), ROOT)
    assert both.stages[-1] == "evaluate" and "instruct" in both.stages


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objective": GOOD["objective"] | {"metric": "test_accuracy"}}, "test_accuracy speaks of the test part"),
        ({"objective": GOOD["objective"] | {"metric": "a.test.validation"}}, "speaks of the test part"),
        ({"objective": GOOD["objective"] | {"metric": "train_loss"}}, "must be a validation metric"),
        ({"objective": GOOD["objective"] | {"stage": "lorra"}}, "has no stage 'lorra'; allowed are download,"),
        ({"pruner": LOSS | {"metric": "test_loss"}}, "pruner.metric test_loss speaks of the test part"),
        ({"pruner": LOSS, "objective": ACCURACY}, "better when lower, but the sweep maximizes"),
        ({"parameters": {"lora.learnig_rate": [1e-3]}}, "is no leaf of params.yaml; did you mean lora.learning_rate?"),
        ({"parameters": {"lora": [1]}}, "parameters.lora is no leaf of params.yaml"),
        ({"parameters": {"lora.rank": [2, 2.5]}}, "parameters.lora.rank has 2.5: "),
        ({"parameters": {"lora.rank": [0, 2]}}, "parameters.lora.rank has 0: input should be greater than"),
        ({"parameters": {"lora.rank": {"low": 2.5, "high": 8}}}, "is a whole number: low, high and step must be, too"),
        ({"parameters": {"lora.rank": {"low": 8, "high": 2}}}, "low 8 must be less than high 2"),
        ({"parameters": {"lora.dropout": {"low": 0.0, "high": 1.5}}}, "has 1.5: input should be less than 1"),
        ({"parameters": {"lora.alpha": {"low": 0, "high": 1, "log": True}}}, "log needs a low above 0"),
        ({"parameters": {"lora.keep": {"low": 1, "high": 2}}}, "parameters.lora.keep is no number"),
        ({"parameters": {"lora.rank": {"lo": 1, "high": 2}}}, "parameters.lora.rank.low is missing"),
        ({"parameters": {"lora.rank": 4}}, "allowed are a list of choices, or low and high"),
        ({"parameters": {"lora.rank": [4, 4]}}, "choices must be one or more, each once"),
        ({"parameters": {"instruct.epochs": [1, 2]}}, "read by none of the stages download, tokenize, sample"),
        ({"parameters": {"lora.learning_rate": [1e-5]}}, "a trial with lora.learning_rate=1e-05 would be refused: "),
        ({"sampler": "grid"}, "the sampler grid needs a list of choices"),
        ({"trials": None}, "trials is missing: the sampler random has no end of its own"),
        ({"trails": 5}, "trails is not a known parameter"),
        ({"seed": "1"}, "seed is '1': input should be a valid integer"),
    ],
)  # fmt: skip
def test_what_a_trial_could_not_do_is_one_sentence(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=r"mine\.yaml") as caught:
        load_sweep(written(tmp_path, **changes), ROOT)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_metric_is_looked_up_where_there_is_one_already(tmp_path: Path) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "reports/lora").mkdir(parents=True)
    (tmp_path / "reports/lora/metrics.json").write_text('{"validation_loss": 1.0, "test_accuracy": 1.0}')
    assert load_sweep(written(tmp_path), tmp_path).trials == 3
    with pytest.raises(ValueError, match=r"is not in reports/lora/metrics\.json: did you mean validation_loss\?"):
        load_sweep(written(tmp_path, objective=GOOD["objective"] | {"metric": "validation_los"}), tmp_path)


@given(st.dictionaries(st.sampled_from(["a.b", "a.c", "d"]), st.lists(st.integers(), min_size=1, max_size=3)))
def test_combinations_are_all_and_each_sets_its_leaves(choices: dict[str, list[int]]) -> None:
    found = list(combinations(choices))
    sizes = [len(values) for values in choices.values()]
    assert len(found) == (1 if not sizes else math.prod(sizes))
    for values in found:
        tree = with_values({"a": {"b": 0, "c": 0}, "d": 0}, values)
        assert {leaf: leaves(tree)[leaf] for leaf in values} == values


def test_what_a_trial_is_given_keeps_comments(tmp_path: Path) -> None:
    tree = with_values(read_yaml(ROOT / "params.yaml"), {"lora.rank": 3})
    (tmp_path / "params.yaml").write_text(dump_yaml(tree))
    assert load_params(tmp_path / "params.yaml").lora.rank == 3
    assert "# every random generator" in (tmp_path / "params.yaml").read_text() and plain(tree)["lora"]["rank"] == 3
