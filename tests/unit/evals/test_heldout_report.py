"""Held-out results as a table and in the report."""

from nemo_mixsd.evals.heldout import HeldoutScore
from nemo_mixsd.evals.heldout_report import cell, heldout_lines, heldout_table, read_heldout
from nemo_mixsd.io import write_json
from nemo_mixsd.types import to_record


def score(name="gsm8k", accuracy=0.5, **changes):
    fields = {
        "low": accuracy - 0.1, "high": accuracy + 0.1, "interval": "wilson", "problems": 10, "total": 10, "samples": 1,
        "seed": 0, "correct": round(10 * accuracy), "truncated": 0, "metric": "accuracy", **changes,
    }  # fmt: skip
    return HeldoutScore(benchmark=name, accuracy=accuracy, **fields)


def test_methods_by_benchmarks_with_intervals_and_average():
    rows = {
        "base": {"gsm8k": score(), "mmlu": score("mmlu", 0.3), "lm_eval/arc": score("lm_eval/arc", 0.9)},
        "sft": {"gsm8k": score(accuracy=0.2)},
        "mixsd@0.3": {},
    }
    header, body = heldout_table(rows)
    assert header == ["method", "gsm8k", "mmlu", "lm_eval/arc", "average"]
    assert body == [
        ["base", "50.0 % [40.0, 60.0]", "30.0 % [20.0, 40.0]", "90.0 % [80.0, 100.0]", "40.0 %"],
        ["sft", "20.0 % [10.0, 30.0]", "–", "–", "–"],
    ]


def test_other_problems_stand_in_another_column():
    rows = {"base": {"gsm8k": score()}, "sft": {"gsm8k": score(problems=5)}}
    header, body = heldout_table(rows)
    assert header[:3] == ["method", "gsm8k", "gsm8k (5 of 10, seed 0)"]
    assert [row.count("–") for row in body] == [2, 2]


def test_cells():
    assert cell(score(low=None)) == "50.0 %"
    assert cell(score(accuracy=12.345, metric="word_perplexity")) == "12.35"


def test_nothing_measured_is_no_section():
    assert heldout_lines({"base": {}, "sft": {}}) == []
    lines = "\n".join(heldout_lines({"base": {"gsm8k": score(truncated=3)}}))
    assert "## Held-out benchmarks" in lines
    assert "base: 3 of 10 responses to gsm8k were cut off" in lines


def test_results_are_read_from_their_files(tmp_path):
    write_json(tmp_path / "mmlu.json", to_record(score("mmlu")))
    write_json(tmp_path / "gsm8k.json", to_record(score()))
    write_json(tmp_path / "lm_eval" / "arc.json", to_record(score("lm_eval/arc", 0.4, subjects={"x": 0.4})))
    (tmp_path / "train.json").write_text("{}")
    found = read_heldout(tmp_path)
    assert list(found) == ["gsm8k", "mmlu", "lm_eval/arc"]
    assert found["lm_eval/arc"] == score("lm_eval/arc", 0.4, subjects={"x": 0.4})
    assert read_heldout(tmp_path / "nowhere") == {}
