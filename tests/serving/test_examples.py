"""Examples are held-out items of the data at hand, and there are none without data."""

from __future__ import annotations

from pathlib import Path

from serving import examples
from tests.serving.conftest import MESSAGES, TASKS


def test_tasks_of_every_kind_and_labels_in_turns(workspace: Path) -> None:
    assert [task.instruction for task in examples.tasks(workspace)] == [TASKS[n]["instruction"] for n in (0, 2)]
    assert examples.tasks(workspace)[1].short == "Who sees the dog? | The cat sees the dog."
    assert examples.messages(workspace) == [MESSAGES[n]["text"] for n in (0, 2, 1)]
    assert len(examples.messages(workspace, 1)) == len(examples.tasks(workspace, 1)) == 1


def test_openings_are_the_first_words_of_documents(workspace: Path) -> None:
    assert examples.openings(workspace) == ["The cat sees the dog"]


def test_without_data_there_are_none(tmp_path: Path) -> None:
    assert examples.tasks(tmp_path) == examples.messages(tmp_path) == examples.openings(tmp_path) == []
