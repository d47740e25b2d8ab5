"""The plan says what will run, and why, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.plan import make_plan
from tests.tasks.tiny_repo import dvc, read_yaml, set_number, write_yaml


def actions(root: Path, *targets: str) -> dict[str, str]:
    return {stage.name: stage.action for stage in make_plan(root, targets or None).stages}


def reasons(root: Path, name: str) -> tuple[str, ...]:
    return next(stage.reasons for stage in make_plan(root).stages if stage.name == name)


def test_a_new_repository_runs_everything(fresh: Path) -> None:
    plan = make_plan(fresh)
    assert plan.waves == (("root",), ("left", "right"), ("join",))
    assert actions(fresh) == {"root": "run", "left": "run", "right": "run", "join": "run"}
    assert str(plan).splitlines()[0] == "root   run      never ran"


def test_nothing_changed_nothing_to_do(done: Path) -> None:
    plan = make_plan(done)
    assert plan.up_to_date == {stage.name for stage in plan.stages}
    assert plan.nothing_to_do and str(plan).splitlines()[3] == "join   cached   up to date"


def test_a_changed_parameter_is_named_with_both_values_and_what_follows_may_run(done: Path) -> None:
    set_number(done, "left", 2.5)
    assert actions(done) == {"root": "cached", "left": "run", "right": "cached", "join": "may run"}
    assert reasons(done, "left") == ("left.number 1 → 2.5",)
    assert reasons(done, "join") == ("its inputs come from left",)
    assert actions(done, "right") == {"root": "cached", "right": "cached"}


def test_changed_code_a_missing_output_and_a_hand_made_one_are_named(done: Path) -> None:
    (done / "left.txt").unlink()
    (done / "right.txt").unlink()
    (done / "right.txt").write_text("mine")
    assert reasons(done, "left") == ("its output left.txt is missing",)
    assert reasons(done, "right") == ("its output right.txt was changed by hand",)
    assert actions(done) == {"root": "cached", "left": "restore", "right": "restore", "join": "may run"}
    (done / "work.py").write_text((done / "work.py").read_text() + "# edited\n")
    assert reasons(done, "root") == ("work.py changed",)
    assert actions(done) == {"root": "run", "left": "run", "right": "run", "join": "run"}


def test_parameters_that_come_and_go_and_a_changed_command(done: Path) -> None:
    tree = read_yaml(done / "params.yaml")
    tree["join"] = {"number": 1, "more": {"deep": [1, 2]}}
    write_yaml(done / "params.yaml", tree)
    assert reasons(done, "join") == ("join.more.deep = [1, 2] is a new input",)
    pipeline = read_yaml(done / "dvc.yaml")
    pipeline["stages"]["root"]["cmd"] += " "
    pipeline["stages"]["root"]["cmd"] += "&& true"
    write_yaml(done / "dvc.yaml", pipeline)
    assert reasons(done, "root") == ("its command changed",)


def test_a_parameter_set_back_is_restored(done: Path) -> None:
    set_number(done, "left", 2)
    dvc(done, "repro")
    set_number(done, "left", 1)
    assert actions(done) == {"root": "cached", "left": "restore", "right": "cached", "join": "restore"}


def test_a_chain_that_is_set_back_is_restored_as_a_whole(done: Path) -> None:
    for number in (2, 1):
        for name in ("root", "left"):
            set_number(done, name, number)
        if number == 2:
            dvc(done, "repro")
    assert actions(done) == dict.fromkeys(["root", "left", "right", "join"], "restore")
    assert reasons(done, "left") == ("left.number 2 → 1",) and reasons(done, "join") == (
        "its inputs come from left and right",
    )
    set_number(done, "right", 3)
    assert actions(done) == {"root": "restore", "left": "restore", "right": "run", "join": "may run"}
    set_number(done, "right", 1)
    assert "Running stage" not in dvc(done, "repro").stdout


def test_an_input_that_an_earlier_stage_made_anew_is_named(done: Path) -> None:
    set_number(done, "root", 2)
    dvc(done, "repro", "--single-item", "root")
    assert actions(done) == {"root": "cached", "left": "run", "right": "run", "join": "may run"}
    assert reasons(done, "left") == ("root.txt changed",)


def test_the_wave_ends_where_the_bytes_are_the_same(done: Path) -> None:
    set_number(done, "left", 1.0)  # DVC holds 1 and 1.0 to be equal
    assert make_plan(done).nothing_to_do
    text = (done / "work.py").read_text()
    (done / "work.py").write_text(text + "print('more to say')\n")
    pipeline = read_yaml(done / "dvc.yaml")
    for name in ("left", "right", "join"):
        pipeline["stages"][name]["deps"].remove("work.py")
    write_yaml(done / "dvc.yaml", pipeline)
    dvc(done, "commit", "--force", "left", "right", "join")
    assert actions(done) == {"root": "run", "left": "may run", "right": "may run", "join": "may run"}
    assert dvc(done, "repro").stdout.count("Running stage") == 1
    assert make_plan(done).nothing_to_do


def test_bad_files_and_unknown_stages_are_one_sentence(done: Path) -> None:
    with pytest.raises(ValueError, match="no stage 'lefft'"):
        make_plan(done, ["lefft"])
    (done / "params.yaml").write_text("left: [\n")
    with pytest.raises(ValueError) as caught:
        make_plan(done)
    assert "params.yaml" in str(caught.value) and "\n" not in str(caught.value)
