"""The report: what stands in it, what doesn't where there is nothing to say, and that text stays text."""

from __future__ import annotations

from stages.report import points, table, write_report
from tests.stages.conftest import findings


def row_of(report: str, begin: str) -> str:
    """The one line that begins so."""
    (line,) = [line for line in report.splitlines() if line.startswith(begin)]
    return line


def test_a_table_survives_whatever_a_model_writes() -> None:
    assert table(["a"], [["x|y\nz"]]).splitlines()[2] == "| x\\|y ⏎ z |"
    assert table(["a"], [["<b> *c* `d` \x1b"]]).splitlines()[2] == "| \\<b\\> \\*c\\* \\`d\\` � |"


def test_the_loss_stands_beside_the_floor_with_what_it_bounds() -> None:
    report = write_report(findings(), 4)
    assert row_of(report, "| pre-trained | validation") == (
        "| pre-trained | validation | 0.900 | 2.70 | 1,000 | 0.800 | 12.5 % |"
    )
    assert row_of(report, "| pre-trained | train").endswith("| 0.800 | – |")
    assert "0.900 nats, 12.5 % above the floor" in row_of(report, "| language")
    assert "each document's whole context" in report and "0.0040 nats" in report and "none is given" not in report
    assert row_of(report, "| untrained | test").endswith("| 900 % |")


def test_without_a_floor_nothing_is_said_of_one() -> None:
    report = write_report(findings(floor=False), 4)
    assert "floor" not in report
    assert row_of(report, "| untrained | test") == "| untrained | test | 8.000 | 2.70 | 1,000 |"


def test_pieces_of_documents_have_a_floor_but_no_ratio() -> None:
    found = findings()
    for parts in found.metrics["language"].values():
        for scores in parts.values():
            scores.pop("over_floor", None)
    report = write_report(found, 4)
    assert "Where none is given" in report and "whole context" not in report
    assert "above the floor" not in row_of(report, "| language")


def test_the_first_the_middle_and_the_last_sample_are_shown() -> None:
    report = write_report(findings(), 4)
    assert [step for step in (0, 10, 20, 30) if f"| {step} | Once \\<b\\>upon\\</b\\> ⏎ {step} |" in report] == [
        0,
        20,
        30,
    ]


def test_lora_stands_beside_full_tuning() -> None:
    report = write_report(findings(), 4)
    assert "LoRA trains 50 times fewer parameters" in report
    assert "minus full tuning's is −10.0 points" in report
    alone = write_report(findings(classifiers={"pretrained": 9, "lora": 9, "bag_of_words": 7}), 4)
    assert "times fewer" not in alone and "| LoRA on the frozen base | 20 | 2.0 % |" in alone


def test_points_have_a_sign_but_no_signed_zero() -> None:
    assert [points(value) for value in (0.012, -0.012, -0.0001, 0.0)] == ["+1.2", "−1.2", "0.0", "0.0"]


def test_instructions_are_reported_apart_for_test_and_combinations() -> None:
    report = write_report(findings(), 4)
    assert "| instructions: exact match, new combinations | 83.3 % | without pre-training 16.7 % |" in report
    assert "| combinations | the same fine-tuning from random weights | 6 | 16.7 %" in report
    assert row_of(report, "| plural") == "| plural | 3 | 100.0 % | 33.3 % | 3 | 100.0 % | 33.3 % | 100.0 % |"
    plain = write_report(findings(parts=("validation", "test")), 4)
    assert "ombination" not in plain
    assert row_of(plain, "| plural") == "| plural | 3 | 100.0 % | 33.3 % | 100.0 % |"


def test_right_and_wrong_answers_are_shown_half_and_half_where_there_are_both() -> None:
    def marks(right: int) -> list[str]:
        report = write_report(findings(assistants={"pretrained": right, "random": 1}, parts=("validation", "test")), 4)
        return [line[2] for line in report.splitlines() if line.startswith(("| ✓", "| ✗"))]

    assert marks(3) == ["✓", "✓", "✗", "✗"]
    assert marks(6) == ["✓"] * 4
    assert marks(1) == ["✓", "✗", "✗", "✗"]
    assert "### Examples" not in write_report(findings(), 0)


def test_a_single_variant_stands_alone() -> None:
    report = write_report(findings(assistants={"random": 2}, classifiers={"full": 9, "lora": 9, "bag_of_words": 7}), 4)
    assert "| instructions: exact match, test | 33.3 % | – |" in report
    assert "without pre-training" not in report


def test_what_tunes_everything_is_called_so() -> None:
    found = findings()
    assert found.classifier("pretrained") == "last layers tuned, from the base"
    found.costs["pretrained"]["trainable_share"] = 1.0
    assert found.classifier("pretrained") == "all weights tuned, from the base"
