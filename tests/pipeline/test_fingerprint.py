"""The fingerprint computed from files is the one read back from dvc.lock."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.fingerprint import checkpoint_key, digest, inputs_of, locked_inputs, locked_outputs, lookup, outputs_of
from pipeline.graph import load_graph
from tests.tasks.tiny_repo import dvc, make_repo, python, read_yaml, write_yaml

WRITE = """
from pathlib import Path
Path("out").mkdir()
Path("out/a.txt").write_text("a")
Path("metrics.json").write_text("{}")
"""
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
trees = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stages = {
        "write": {
            "cmd": python("write"),
            "deps": ["write.py"],
            "params": ["train.rate", "train.sizes", "seed", {"other.yaml": ["a.b"]}, {"whole.yaml": None}],
            "outs": ["out"],
            "metrics": [{"metrics.json": {"cache": True}}],
        },
        "read": {
            "cmd": [f"{python('read')}  one", "true\n"],
            "deps": ["out", "read.py"],
            "params": ["train"],
            "outs": ["r"],
        },
    }
    params = {"seed": 0, "train": {"rate": 4e-4, "sizes": [1, 2.0, "x"], "on": True, "none": None}, "unused": 1}
    read = 'from pathlib import Path; Path("r").write_text("r")'
    root = make_repo(tmp_path_factory.mktemp("fingerprint") / "repo", stages, params, {"write": WRITE, "read": read})
    write_yaml(root / "other.yaml", {"a": {"b": "text"}})
    write_yaml(root / "whole.yaml", {"c": 1, "d": {"e": 2}})
    dvc(root, "repro")
    return root


def test_files_and_lock_agree(repo: Path) -> None:
    lock = read_yaml(repo / "dvc.lock")["stages"]
    for name, spec in load_graph(repo).items():
        assert inputs_of(spec, repo) == locked_inputs(lock[name])
        assert outputs_of(spec, repo) == locked_outputs(lock[name])
        assert digest(inputs_of(spec, repo)) == digest(locked_inputs(lock[name]))
    assert inputs_of(load_graph(repo)["write"], repo)["params"] == {
        "seed": 0,
        "train.rate": 0.0004,
        "train.sizes": [1, 2.0, "x"],
        "other.yaml:a.b": "text",
        "whole.yaml:c": 1,
        "whole.yaml:d": {"e": 2},
    }


def test_only_what_the_stage_reads_changes_its_fingerprint(repo: Path, tmp_path: Path) -> None:
    spec = load_graph(repo)["read"]
    before = digest(inputs_of(spec, repo))
    tree = read_yaml(repo / "params.yaml")
    write_yaml(repo / "params.yaml", {**tree, "unused": 2})
    unrelated = digest(inputs_of(spec, repo))
    write_yaml(repo / "params.yaml", {**tree, "train": {**tree["train"], "rate": 5e-4}})
    related = digest(inputs_of(spec, repo))
    write_yaml(repo / "params.yaml", tree)
    assert before == unrelated != related


def test_what_is_missing_is_named(repo: Path, tmp_path: Path) -> None:
    spec = load_graph(repo)["write"]
    with pytest.raises(ValueError, match=r"stage write: .*write\.py does not exist"):
        inputs_of(spec, tmp_path)
    (tmp_path / "write.py").write_text("")
    (tmp_path / "params.yaml").write_text("train: 3\n")
    with pytest.raises(ValueError, match=r"stage write reads 'train\.rate', which .*params\.yaml does not hold"):
        inputs_of(spec, tmp_path)
    with pytest.raises(ValueError, match=r"stage write: .* does not exist"):
        outputs_of(spec, tmp_path)


def test_lookup_walks_dots() -> None:
    assert lookup({"a": {"b": {"c": None}}}, "a.b.c") is None
    for leaf in ("a.x", "a.b.c.d", "x"):
        with pytest.raises(KeyError):
            lookup({"a": {"b": {"c": None}}}, leaf)


def test_equal_numbers_have_one_digest_and_true_is_no_number() -> None:
    assert digest({"a": 0}) == digest({"a": 0.0}) != digest({"a": False})


@given(trees, trees)
def test_digests_differ_unless_values_are_equal(one: object, other: object) -> None:
    assert len(digest(one)) == 32
    assert digest(one) == digest(one)
    if digest(one) == digest(other):
        assert one == other


def test_checkpoints_are_those_of_any_number_of_processes() -> None:
    runtime = {"threads": 2, "processes": 1, "sharding": "none"}

    def key(**changes: object) -> str:
        return checkpoint_key(
            {"cmd": "x", "deps": {"a": "1"}, "params": {"seed": 1, "runtime": {**runtime, **changes}}}
        )

    assert key() == key(processes=2) == key(processes=8, sharding="full")
    assert key() != key(threads=1)
    assert checkpoint_key({"cmd": "x", "deps": {}, "params": {"seed": 1}}) == digest(
        {"cmd": "x", "deps": {}, "params": {"seed": 1}}
    )
