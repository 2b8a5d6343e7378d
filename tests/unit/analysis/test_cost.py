"""Costs from files made by hand."""

import pytest

from nemo_mixsd.analysis.cost import cost_table, method_cost
from nemo_mixsd.io import write_json, write_jsonl
from nemo_mixsd.types import Discard
from tests.samples import target

TRAINED = {"generated_tokens": 70, "teacher_tokens": 500, "trained_tokens": 400, "seconds": 9.5}


def finish(run, name, **record):
    write_json(run / "checkpoints" / name / "complete.json", {"step": 3, "seconds": 9.5, **record})


def test_what_the_student_generates_and_what_the_targets_took_are_added(tmp_path):
    finish(tmp_path, "mixsd@0.3", cost=TRAINED)
    write_jsonl(tmp_path / "targets" / "mixsd@0.3.jsonl", [target(0, generated=3), target(1, generated=12)])
    discards = [Discard("a", name, 11, "b", "t", "r", 100) for name in ("mixsd@0.3", "mixsd@0.5")]
    write_jsonl(tmp_path / "targets" / "discarded.jsonl", discards)
    assert method_cost(tmp_path, "mixsd@0.3", {"targets": 20.25, "train": 99.0, "eval": 7.0}) == {
        "generated_tokens": 70 + 3 + 12 + 100,
        "teacher_tokens": 500,
        "trained_tokens": 400,
        "seconds": 29.75,
    }


@pytest.mark.parametrize(
    ("targets", "record", "generated"),
    [
        (None, {"cost": TRAINED}, 70),  # opsd has no targets
        ([target(0, generated=3), target(1)], {"cost": TRAINED}, None),  # made before anybody counted
        ([target(0, generated=3)], {}, None),  # a training that did not count
    ],
)
def test_what_nobody_counted_is_none_and_not_zero(tmp_path, targets, record, generated):
    finish(tmp_path, "x", **record)
    if targets is not None:
        write_jsonl(tmp_path / "targets" / "x.jsonl", targets)
    found = method_cost(tmp_path, "x", {})
    assert found["generated_tokens"] == generated
    assert found["trained_tokens"] == (400 if record else None)
    assert found["seconds"] == 9.5


def test_without_a_finished_training_there_is_no_cost(tmp_path):
    assert method_cost(tmp_path, "base", {"eval": 3.0}) == {}


def test_table():
    cost = {"generated_tokens": 1234567, "teacher_tokens": 0, "trained_tokens": None, "seconds": 12.34}
    header, rows = cost_table({"base": {}, "opsd": cost})
    assert len(header) == 5
    assert rows == [["opsd", "1 234 567", "0", "–", "12.3"]]
