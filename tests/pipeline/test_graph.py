"""dvc.yaml read as a graph."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.graph import StageSpec, load_graph, overlap, read_mapping, select, waves

PIPELINE = """
stages:
  report:
    cmd: python report.py
    deps: [models/base/model.bin, data/]
    outs: [report.md]
  train:
    cmd: python train.py
    deps: [./data/tokens, train.py]
    params: [seed, train.steps, {other.yaml: [a.b], params.yaml: [size]}, {whole.yaml: null}]
    outs: [models/base]
    metrics: [{reports/train/metrics.json: {cache: true}}]
    plots: [{reports/train/curve.csv: {x: step, y: loss}}]
    meta: {key_metric: loss}
  prepare:
    cmd: [python prepare.py, python check.py]
    outs: [data/tokens, data/raw]
"""


def graph_of(folder: Path, text: str) -> dict[str, StageSpec]:
    (folder / "dvc.yaml").write_text(dedent(text), encoding="utf-8")
    return load_graph(folder)


def test_stages_come_after_what_they_read(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, PIPELINE)
    assert list(graph) == ["prepare", "train", "report"]
    assert graph["train"] == StageSpec(
        name="train",
        cmd="python train.py",
        deps=("data/tokens", "train.py"),
        params=("seed", "train.steps", "other.yaml:a.b", "size", "whole.yaml:"),
        outs=("models/base", "reports/train/metrics.json", "reports/train/curve.csv"),
        upstream=("prepare",),
        meta={"key_metric": "loss"},
    )
    assert graph["train"].key_metric == "loss" and graph["report"].key_metric is None
    assert graph["prepare"].cmd == ("python prepare.py", "python check.py")
    assert graph["report"].upstream == ("train", "prepare")  # a file inside an output, outputs inside a folder
    assert waves(graph) == [["prepare"], ["train"], ["report"]]


def test_siblings_share_a_wave(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        """
        stages:
          last: {cmd: x, deps: [a.out, b.out]}
          b: {cmd: x, deps: [root.out], outs: [b.out]}
          a: {cmd: x, deps: [root.out], outs: [a.out]}
          root: {cmd: x, outs: [root.out]}
        """,
    )
    assert waves(graph) == [["root"], ["b", "a"], ["last"]]
    assert list(select(graph, ["a"])) == ["root", "a"]
    assert waves(select(graph, ["a", "b"])) == [["root"], ["b", "a"]]
    assert select(graph, None) == graph


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: {a: {deps: [x]}}", "stage 'a' needs a 'cmd'"),
        ("stages: {a: {foreach: [1], do: {cmd: x}}}", "foreach and matrix are not supported"),
        ("stages: {a: {cmd: 'x ${item}'}}", "not supported"),
        ("stages: {a: {cmd: x, wdir: sub}}", "not supported"),
        ("vars: [x.yaml]", "'vars' is not supported"),
        ("stages: [a]", "must be a mapping"),
        ("[]", "must hold a mapping, not a list"),
        ("stages: {a: [}", "not valid YAML"),
        ("stages: {a: {cmd: x, deps: [q], outs: [p]}, b: {cmd: x, deps: [p], outs: [q]}}", "wait for each other: a, b"),
    ],
)
def test_what_it_cannot_read_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"dvc\.yaml") as caught:
        graph_of(tmp_path, text)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_targets_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        load_graph(tmp_path)
    with pytest.raises(ValueError, match="no stage 'trian'; allowed are prepare, train, report"):
        select(graph_of(tmp_path, PIPELINE), ["trian"])


def test_an_empty_pipeline_is_no_error(tmp_path: Path) -> None:
    assert graph_of(tmp_path, "") == {} and waves({}) == []


def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("rate: 4e-4\nname: no\n")
    assert read_mapping(tmp_path / "p.yaml") == {"rate": 0.0004, "name": "no"}


@given(st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1), st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1))
def test_paths_overlap_exactly_when_one_is_a_prefix_by_parts(one: list[str], other: list[str]) -> None:
    shorter = min(len(one), len(other))
    assert overlap("/".join(one), "/".join(other)) == (one[:shorter] == other[:shorter])
